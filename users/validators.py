from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

MAX_PASSWORD_LENGTH = 128
PRODUCT = "referral"
SHORTEST_NAME = 4  # a shorter one is part of many a good password by chance


class MaximumLengthValidator:
    """Keeps a megabyte of password from being hashed. NIST SP 800-63B asks for 64 characters at the least."""

    def validate(self, password: str, user: Any = None) -> None:
        if len(password) > MAX_PASSWORD_LENGTH:
            raise ValidationError(self.get_help_text(), code="password_too_long")

    def get_help_text(self) -> str:
        return _("Your password can have %(max)d characters at most.") % {"max": MAX_PASSWORD_LENGTH}


class NoNamesValidator:
    """Refuses a password with a name in it that anyone would try first, however long it is (NIST SP 800-63B).

    Django's own looks for passwords that are *like* a name: one that is long enough is not.
    """

    def validate(self, password: str, user: Any = None) -> None:
        email, username = (getattr(user, name, None) or "" for name in ("email", "username"))
        names = (PRODUCT, email, email.partition("@")[0], username)
        if any(name.lower() in password.lower() for name in names if len(name) >= SHORTEST_NAME):
            raise ValidationError(self.get_help_text(), code="password_contains_name")

    def get_help_text(self) -> str:
        return _("Your password can't contain your username, your e-mail address or the word %(word)s.") % {
            "word": PRODUCT
        }
