import secrets
from functools import cache
from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest

from config.api import context
from config.api.compiled import CompiledQuery
from users import audit, limits
from users.emails import canonical_email
from users.models import AuditEvent, User

_BY_EMAIL = CompiledQuery[User](lambda email: User.objects.filter(email=email), "somebody@example.com")
_BY_USERNAME = CompiledQuery[User](lambda username: User.objects.filter(username__lower=username), "somebody")


class EmailOrUsernameBackend(ModelBackend):
    """Finds an account by its e-mail address, in any spelling, or by its username, in any case.

    The API and the admin both sign people in by it, so that one limit holds for both. An account that nobody has costs
    as much time and as many tries as any other. Raises LimitReached.
    """

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        login = username or kwargs.get("email")
        if login is None or password is None:
            return None
        login = _folded(login)
        named = _BY_EMAIL if "@" in login else _BY_USERNAME
        user = next(iter(named.objects(login)), None)
        attempt = limits.password_try(f"login {login}", user)
        password_is_right = (user or _nobody()).check_password(password)
        if user and password_is_right and self.user_can_authenticate(user):
            limits.password_was_right(attempt)
            audit.record(AuditEvent.Kind.SIGNED_IN, user)
            context.user_id.set(user.pk)
            return user
        audit.record(AuditEvent.Kind.SIGN_IN_FAILED, user)
        return None

    def get_user(self, user_id: Any) -> User | None:
        """The account of a session."""
        user = super().get_user(user_id)
        context.user_id.set(user.pk if user else None)
        return user

    def user_can_authenticate(self, user: Any) -> bool:
        return isinstance(user, User) and user.may_sign_in


@cache
def _nobody() -> User:
    """Somebody to look at the password of where there is nobody: it takes as long, and is never right."""
    nobody = User()
    nobody.set_password(secrets.token_urlsafe())
    return nobody


def _folded(login: str) -> str:
    try:
        return canonical_email(login)
    except ValueError:
        return login if "@" in login else login.lower()  # as an address it finds nobody, and must not begin to
