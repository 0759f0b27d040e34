from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest

from users.models import User


class EmailOrUsernameBackend(ModelBackend):
    """Finds an account by its e-mail address, in any spelling, or by its username, in any case."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        login = username or kwargs.get("email")
        if login is None or password is None:
            return None
        by = {"email": login} if "@" in login else {"username__lower": login.lower()}
        user = User.objects.filter(**by).first()
        if user is None:
            User().set_password(password)  # an unknown account takes as long as a wrong password
            return None
        return user if user.check_password(password) and self.user_can_authenticate(user) else None

    def user_can_authenticate(self, user: Any) -> bool:
        return isinstance(user, User) and user.may_sign_in
