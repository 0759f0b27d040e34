"""Accounts, the logins they hold, the mail that waits for them."""

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.hashers import check_password, make_password
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.constants import OnConflict
from django.db.models.functions import Lower, Now
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext_lazy as _

from config.api.compiled import ANOTHER_ID, ID, CompiledInsert, CompiledUpdate
from users.emails import canonical_email

USERNAME = RegexValidator(
    r"^[A-Za-z0-9][A-Za-z0-9._-]{1,39}\Z",
    _("2 to 40 letters a-z, digits, dots, dashes and underscores; a letter or a digit comes first."),
    code="invalid",
)


def validate_email_address(value: str) -> None:
    try:
        canonical_email(value)
    except ValueError:
        raise ValidationError(_("Enter a valid e-mail address."), code="invalid") from None


def made_up_username() -> str:
    """A handle for someone who chose none: 50 random bits over letters that are not mistaken for others."""
    letters = "23456789abcdefghjkmnpqrstvwxyz"
    number, made_up = secrets.randbelow(len(letters) ** 10), ""
    for _letter in range(10):
        number, letter = divmod(number, len(letters))
        made_up += letters[letter]
    return f"user-{made_up}"


def plain(deconstructed: tuple[str, str, Any, Any]) -> tuple[str, str, Any, Any]:
    """What a migration is told of a field of ours: a plain column, so that migrations import nothing of ours."""
    name, _path, args, kwargs = deconstructed
    return name, "django.db.models.CharField", args, kwargs


class CanonicalEmailField(models.EmailField):
    """An address in its canonical form, on every save and in every look-up."""

    default_validators = [validate_email_address]

    def deconstruct(self) -> Any:
        return plain(super().deconstruct())

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        try:
            return canonical_email(value) if isinstance(value, str) else value
        except ValueError:
            return value  # equal to nothing that is stored


class UsernameField(models.CharField):
    """A handle that keeps the case in which it was chosen and is looked up as `username__lower`."""

    default_validators = [USERNAME]

    def deconstruct(self) -> Any:
        return plain(super().deconstruct())


UsernameField.register_lookup(Lower)


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Make an account; a username is made up where none is given. Raises ValueError for a bad address."""
        user = self.model(email=canonical_email(email), **{"username": made_up_username()} | fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """One who can enter the admin at once: who has the shell needs no proof of an address.

        Raises ValidationError for a weak password, which `createsuperuser --noinput` would take.
        """
        if password is not None:
            validate_password(password, self.model(email=email, **fields))
        rights = {"is_staff": True, "is_superuser": True, "email_verified_at": timezone.now()}
        return self.create_user(email, password, **rights | fields)


class User(CompiledInsert, AbstractBaseUser, PermissionsMixin):
    """A person with an account, which is one mailbox. A closed account stays, without anything that tells whose."""

    _password: str | None  # set by Django between a change of the password and its save
    last_login = None  # who came when is a matter for the logins themselves: see TokenFamily

    email = CanonicalEmailField(_("e-mail address"), unique=True, null=True)
    username = UsernameField(_("username"), max_length=40, help_text=_("The name that others see."))
    email_verified_at = models.DateTimeField(_("e-mail verified at"), null=True, blank=True)
    discoverable_by_email = models.BooleanField(
        _("discoverable by e-mail"),
        default=True,
        help_text=_("Whether others who know the address can look up this person's referral code."),
    )
    language = models.CharField(
        _("language"),
        max_length=8,
        choices=settings.LANGUAGES,
        default="en",
        help_text=_("In which mails are written."),
    )
    registered_at = models.DateTimeField(_("registered at"), db_default=Now(), editable=False, db_index=True)
    closed_at = models.DateTimeField(_("closed at"), null=True, blank=True, editable=False)
    is_active = models.BooleanField(_("active"), default=True, help_text=_("Take this away to block someone."))
    is_staff = models.BooleanField(_("staff"), default=False, help_text=_("May enter this admin."))
    token_version = models.PositiveIntegerField(default=0, editable=False)

    EMAIL_FIELD = USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects = UserManager()

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        constraints = [models.UniqueConstraint(Lower("username"), name="users_user_username_unique")]
        # The few that staff ask for among very many.
        indexes = [
            models.Index(fields=["id"], condition=models.Q(is_staff=True), name="users_user_staff"),
            models.Index(fields=["id"], condition=models.Q(is_active=False, closed_at=None), name="users_user_blocked"),
            models.Index(fields=["id"], condition=models.Q(closed_at__isnull=False), name="users_user_closed"),
        ]

    def __str__(self) -> str:
        return self.username

    def save(self, *args: Any, **kwargs: Any) -> None:
        # A mere upgrade of the hash leaves `_password` unset, and the tokens alive.
        if self._password is not None and self.pk:
            self.token_version += 1
            if kwargs.get("update_fields") is not None:
                kwargs["update_fields"] = {*kwargs["update_fields"], "token_version"}
        super().save(*args, **kwargs)

    def _insert(self, on_conflict: OnConflict | None) -> bool:
        if is_stored := super()._insert(on_conflict):
            self._password = None  # as after `save`
        return is_stored

    def set_unusable_password(self) -> None:
        """No password is a new one too, to `save`."""
        super().set_unusable_password()
        self._password = ""

    def check_password(self, raw_password: str | None) -> bool:
        """Whether it is the password. An older hash is renewed, unless the password was changed meanwhile."""

        def renew(raw_password: str) -> None:
            read, self.password = self.password, make_password(raw_password)
            User.objects.filter(pk=self.pk, password=read).update(password=self.password)

        return check_password(raw_password, self.password, renew)

    def _get_session_auth_hash(self, secret: str | None = None) -> str:
        """What ends every token ends the admin's sessions too."""
        state = f"{self.password} {self.token_version}"
        return salted_hmac("users.session", state, secret=secret, algorithm="sha256").hexdigest()

    @property
    def email_verified(self) -> bool:
        return self.email_verified_at is not None

    @property
    def may_sign_in(self) -> bool:
        """Not blocked, not closed, and with a proved address where that is asked for."""
        return self.is_active and (self.email_verified or not settings.REQUIRE_EMAIL_VERIFICATION)


def digest(value: str) -> str:
    return hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()


class TokenFamily(CompiledInsert, models.Model):
    """One login and the refresh tokens that came of it, of which only the newest is good.

    Whoever shows an older one shows that the token is in two hands: the family ends (RFC 9700, section 4.14.2).
    Only digests are kept.
    """

    REUSE_GRACE = timedelta(seconds=10)  # two tabs of one browser that refresh at once are no thief

    user = models.ForeignKey(User, models.CASCADE, related_name="token_families")
    current = models.CharField(max_length=64)
    previous = models.CharField(max_length=64, default="", blank=True)
    created_at = models.DateTimeField(db_default=Now())
    rotated_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(db_index=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"login {self.pk}"

    class Rotation(Enum):
        DONE, REUSED, REFUSED = range(3)

        def __bool__(self) -> bool:
            return self is TokenFamily.Rotation.DONE

    @classmethod
    def rotate(cls, family_id: int, owner: int, version: int, shown: str, successor: str) -> Rotation:
        """Put `successor` in the place of `shown`; done for one caller. Reuse ends the family, and is told once.

        Refused, and nothing ended, where the owner is blocked, closed or has another token version by now.
        """
        now = timezone.now()
        if _ROTATION.run(family_id, owner, version, digest(shown), digest(successor), now):
            return cls.Rotation.DONE
        family = cls._alive(family_id, owner, version, now)
        reused = family.exclude(previous=digest(shown), rotated_at__gt=now - cls.REUSE_GRACE)
        return cls.Rotation.REUSED if reused.update(ended_at=now, expires_at=now) else cls.Rotation.REFUSED

    @classmethod
    def _alive(cls, family_id: int, owner: int, version: int, at: datetime) -> "models.QuerySet[TokenFamily]":
        """The family, if it and its owner are alive. No join: what waits for another's change must look again."""
        alive = models.Exists(User.objects.filter(pk=owner, is_active=True, token_version=version))
        return cls.objects.filter(alive, pk=family_id, ended_at=None, expires_at__gt=at)

    @classmethod
    def end(cls, family_id: int) -> bool:
        """Log the family out; false when it had ended already."""
        now = timezone.now()
        return cls.objects.filter(pk=family_id, ended_at=None).update(ended_at=now, expires_at=now) == 1


_ROTATION = CompiledUpdate(
    lambda family, owner, version, shown, successor, now: (
        TokenFamily._alive(family, owner, version, now).filter(current=shown),
        {"current": successor, "previous": shown, "rotated_at": now},
    ),
    ID,
    ANOTHER_ID,
    2**31 - 1,
    "the digest of what is shown",
    "that of its successor",
    datetime.max.replace(tzinfo=UTC),
)


class OutgoingEmailQuerySet(models.QuerySet["OutgoingEmail"]):
    def due(self, at: datetime | None = None) -> "OutgoingEmailQuerySet":
        """Mails that wait for a try, those whose sender died half-way among them."""
        return self.filter(sent_at=None, failed_at=None, next_try_at__lte=at or timezone.now())


class OutgoingEmail(CompiledInsert, models.Model):
    """A message on its way. The row is the queue: what is not yet sent is here, whoever has died meanwhile."""

    to = models.TextField(_("to"))
    reader = models.ForeignKey(
        User,
        models.CASCADE,
        null=True,
        related_name="mails",
        verbose_name=_("reader"),
        help_text=_("Whose account it is about."),
    )
    subject = models.CharField(_("subject"), max_length=255)
    message = models.JSONField(help_text="What `users.mail` makes the message of; emptied once it is sent.")
    created_at = models.DateTimeField(_("created at"), db_default=Now(), db_index=True)
    next_try_at = models.DateTimeField(_("next try at"), default=timezone.now)
    tries = models.PositiveSmallIntegerField(_("tries"), default=0)
    last_error = models.CharField(_("last error"), max_length=200, blank=True)
    sent_at = models.DateTimeField(_("sent at"), null=True, blank=True)
    failed_at = models.DateTimeField(_("given up at"), null=True, blank=True)

    objects = OutgoingEmailQuerySet.as_manager()

    class Meta:
        verbose_name = _("outgoing e-mail")
        verbose_name_plural = _("outgoing e-mails")
        indexes = [
            models.Index(
                fields=["next_try_at"], condition=models.Q(sent_at=None, failed_at=None), name="users_outgoingemail_due"
            ),
            models.Index(
                fields=["id"], condition=models.Q(failed_at__isnull=False), name="users_outgoingemail_given_up"
            ),
        ]

    def __str__(self) -> str:
        return self.subject

    def claim(self, until: datetime) -> bool:
        """Take this mail for one try until the moment `until`; true for the one caller that did."""
        mine = OutgoingEmail.objects.filter(pk=self.pk, sent_at=None, failed_at=None, next_try_at=self.next_try_at)
        if not mine.update(next_try_at=until, tries=models.F("tries") + 1):
            return False
        self.next_try_at, self.tries = until, self.tries + 1
        return True

    def note(self, **outcome: Any) -> bool:
        """Write down what came of a claimed try; false when the mail is no more, or another's since the claim ran out.

        Whoever closes an account takes its mail along.
        """
        mine = OutgoingEmail.objects.filter(pk=self.pk, sent_at=None, failed_at=None, next_try_at=self.next_try_at)
        return mine.update(**outcome) == 1

    def wait_again(self) -> bool:
        """Have a mail that was given up wait anew, as if it never had been tried; true for the one caller that did."""
        given_up = OutgoingEmail.objects.filter(pk=self.pk, failed_at__isnull=False)
        return given_up.update(failed_at=None, next_try_at=timezone.now(), tries=0) == 1


class Usage(models.Model):
    """How often something limited was done by one subject in one span of time."""

    key = models.CharField(max_length=64, unique=True)
    count = models.PositiveIntegerField(default=0)
    ends_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.count} until {self.ends_at}"


class PendingUndo(models.Model):
    """A change of somebody's address that can still be undone by the link in the notice of it: see `UndoToken`."""

    user = models.ForeignKey(User, models.CASCADE, related_name="pending_undos")
    ends_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.pk} until {self.ends_at}"


class MailRequest(models.Model):
    """A mail that was asked for by an address alone. Whether somebody has it is looked up after the answer."""

    compose = models.CharField(max_length=100, help_text="Path of what is called with the address.")
    email = models.CharField(max_length=254)
    arguments = models.JSONField(default=dict)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.compose} {self.pk}"


class AuditEvent(CompiledInsert, models.Model):
    """Something that happened to an account. Rows are added, and neither changed nor deleted one by one.

    Of a closed account they lose their client.
    """

    class Kind(models.TextChoices):
        SIGNED_IN = "signed_in", _("Signed in")
        SIGN_IN_FAILED = "sign_in_failed", _("Failed to sign in")
        SIGN_IN_LIMITED = "sign_in_limited", _("Too many tries to sign in")
        SIGNED_OUT = "signed_out", _("Signed out")
        SIGNED_OUT_EVERYWHERE = "signed_out_everywhere", _("Signed out everywhere")
        TOKEN_REUSED = "token_reused", _("A refresh token was used twice")
        EMAIL_VERIFIED = "email_verified", _("E-mail address verified")
        EMAIL_CHANGE_ASKED = "email_change_asked", _("Change of the e-mail address asked for")
        EMAIL_CHANGED = "email_changed", _("E-mail address changed")
        EMAIL_KEPT = "email_kept", _("Change of the e-mail address undone")
        PASSWORD_CHANGED = "password_changed", _("Password changed")
        PASSWORD_RESET = "password_reset", _("Password reset by a link")
        PROVIDER_ADDED = "provider_added", _("Provider added")
        BLOCKED = "blocked", _("Blocked")
        UNBLOCKED = "unblocked", _("Unblocked")
        DATA_EXPORTED = "data_exported", _("Data exported")
        ACCOUNT_CLOSED = "account_closed", _("Account closed")
        MAIL_SENT_AGAIN = "mail_sent_again", _("E-mail sent again")
        CODE_RETIRED = "code_retired", _("Referral code retired")
        CODE_GUESSING = "code_guessing", _("Referral codes are being guessed")

    kind = models.CharField(_("what happened"), max_length=32, choices=Kind)
    user = models.ForeignKey(
        User, models.SET_NULL, null=True, related_name="audit_events", verbose_name=_("user"), db_index=False
    )
    actor = models.ForeignKey(
        User,
        models.PROTECT,
        null=True,
        related_name="+",
        verbose_name=_("by"),
        help_text=_("Staff, if it was not them."),
    )
    client = models.CharField(
        _("client"), max_length=32, blank=True, help_text=_("The same for the same network; its address is not kept.")
    )
    request_id = models.CharField(_("request"), max_length=32)
    detail = models.JSONField(_("detail"), default=dict)
    created_at = models.DateTimeField(_("created at"), db_default=Now(), db_index=True)

    class Meta:
        verbose_name = _("audit event")
        verbose_name_plural = _("audit events")
        indexes = [models.Index(fields=["user", "-id"], name="users_auditevent_newest")]

    def __str__(self) -> str:
        return self.get_kind_display()

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk:
            raise TypeError("what happened, happened")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("what happened, happened")
