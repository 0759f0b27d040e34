"""Every write that locks or spans rows."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import attrgetter

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone, translation
from social_django.models import UserSocialAuth

from config.api import metrics
from config.api.compiled import ID, CompiledQuery
from users import audit, limits, mail
from users.deadlocks import again_after_deadlock
from users.errors import EmailTaken, InvalidLink, InvalidToken, UsernameTaken
from users.models import AuditEvent, MailRequest, OutgoingEmail, PendingUndo, TokenFamily, User, made_up_username
from users.signals import account_closed, appearance_changed
from users.tasks import deliver_waiting_mail_soon
from users.tokens import ACTIVATION, EMAIL_CHANGE, EMAIL_UNDO, PASSWORD_RESET

Kind = AuditEvent.Kind


def prepare_account(*, email: str, password: str, username: str | None = None) -> User:
    """An account that is not stored yet. The password is hashed here, which is slow: before any lock is taken."""
    user = User(email=email, username=username or made_up_username(), language=translation.get_language() or "en")
    user.set_password(password)
    return user


@transaction.atomic(savepoint=False)
def open_account(user: User) -> User:
    """Store a prepared account and queue the mail that proves its address. Raises EmailTaken, UsernameTaken.

    Where sign-ups must not tell which addresses have accounts, an address that is taken makes an account too: one that
    nobody can use, with all a stranger gets to see of any other. The owner of the address is told.
    """
    email, owner = user.email or "", None
    if not settings.REGISTRATION_REVEALS_ACCOUNTS:
        owner = User.objects.filter(email=email).first()
    if owner:
        user.email, user.is_active, user.closed_at = None, False, timezone.now()
    try:
        if not user.insert_if_unique():
            _save_unique(user)  # which tells what is in the way
    except EmailTaken:
        if settings.REGISTRATION_REVEALS_ACCOUNTS:
            raise
        return open_account(user)  # somebody was a moment faster
    if not owner:
        transaction.on_commit(metrics.REGISTRATIONS.inc)
    if not user.email_verified and limits.count_mail_if_room(email):
        (mail.AlreadyRegisteredEmail(owner) if owner else mail.ActivationEmail(user)).queue()
    user.email = email  # for the answer
    return user


@transaction.atomic
def change_account(user: User, **changes: object) -> None:
    """Set what a person may set about themselves, and nothing else. Raises UsernameTaken, InvalidToken."""
    for name, value in changes.items():
        setattr(user, name, value)
    with _unique(user):
        still_open = User.objects.filter(pk=user.pk, closed_at=None)
        if changes and not still_open.update(**changes):
            raise InvalidToken
    if "username" in changes:
        note_new_username(user)


def note_new_username(user: User) -> None:
    """Do what a new username entails, once it is stored, in the transaction that did."""
    appearance_changed.send(User, user=user)


def _save_unique(user: User, update_fields: list[str] | None = None) -> None:
    with _unique(user):
        user.save(update_fields=update_fields)


@contextmanager
def _unique(user: User) -> Iterator[None]:
    """Say in our words what the database refuses about `user`. Raises EmailTaken, UsernameTaken.

    The first line of its complaint names one constraint, or its column; whoever was in the way may be gone by the time
    one looks. Where both are taken, each database names another: the address goes first.
    """
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        said = str(error).partition("\n")[0]
        if "email" in said or (user.email and User.objects.exclude(pk=user.pk).filter(email=user.email).exists()):
            raise EmailTaken from None
        if "username" in said:
            raise UsernameTaken from None
        raise


@transaction.atomic
def verify_email(user: User, token: str) -> None:
    """Take `token` as proof that the account's address is read by its owner. Raises InvalidLink."""
    user = _locked(user)
    if ACTIVATION.read(user, token) is None:
        raise InvalidLink
    user.email_verified_at = timezone.now()
    user.save(update_fields=["email_verified_at"])
    audit.record(Kind.EMAIL_VERIFIED, user)


def set_password(user: User, password: str) -> None:
    """Give the account a new password. Every token and login of it ends. Raises InvalidToken."""
    user.set_password(password)  # hashed before the lock
    with transaction.atomic():
        _store_password(lock_account(user), user, Kind.PASSWORD_CHANGED)


def reset_password(user: User, token: str, password: str) -> None:
    """Set a new password by the mailed link; ends every token. Raises InvalidLink, also for the second of two."""
    user.set_password(password)
    with transaction.atomic():
        stored = _locked(user)
        if PASSWORD_RESET.read(stored, token) is None:
            raise InvalidLink
        if not stored.email_verified:  # the link came by that mailbox; whoever was in before may not be its owner
            stored.email_verified_at = timezone.now()
            UserSocialAuth.objects.filter(user=stored).delete()
        _store_password(stored, user, Kind.PASSWORD_RESET)


def _store_password(stored: User, changed: User, kind: AuditEvent.Kind) -> None:
    stored.password = changed.password
    stored.token_version += 1
    stored.save(update_fields=["password", "token_version", "email_verified_at"])
    _note_new_password(stored, kind)


@transaction.atomic
def note_new_password(user: User, by: int | None = None) -> None:
    """Do what a new password entails, after a form of the admin has stored it: their own, or one of the staff `by`."""
    _note_new_password(user, Kind.PASSWORD_CHANGED, by)


def _note_new_password(user: User, kind: AuditEvent.Kind, by: int | None = None) -> None:
    TokenFamily.objects.filter(user=user).delete()
    audit.record(kind, user, by=by)
    mail.PasswordChangedEmail(user).queue()


@transaction.atomic
def log_out_everywhere(user: User) -> None:
    """End every token and every session of the account."""
    _end_tokens(lock_account(user))
    audit.record(Kind.SIGNED_OUT_EVERYWHERE, user)


@transaction.atomic
def note_block(user: User, *, blocked: bool, by: User) -> None:
    """Write down that staff blocked an account, or unblocked it. A token from before works neither way."""
    _end_tokens(user)
    appearance_changed.send(User, user=user)
    audit.record(Kind.BLOCKED if blocked else Kind.UNBLOCKED, user, by=by)


@transaction.atomic
def set_blocked(users: Iterable[User], *, blocked: bool, by: User) -> int:
    """Block accounts, or unblock them, and tell how many changed. Closed ones stay as they are."""
    changed = 0
    for user in sorted(users, key=attrgetter("pk")):  # locked in one order
        other = User.objects.filter(pk=user.pk, closed_at=None, is_active=blocked)
        if other.update(is_active=not blocked):
            note_block(user, blocked=blocked, by=by)
            changed += 1
    return changed


def _end_tokens(user: User) -> None:
    User.objects.filter(pk=user.pk).update(token_version=F("token_version") + 1)
    TokenFamily.objects.filter(user=user).delete()


@transaction.atomic
def ask_for_email_change(user: User, new_email: str) -> None:
    """Mail a link to the new address, and to the old one a notice with the link that undoes the change.

    Nothing changes until the first link is used.

    Where the new address has an account already it gets no link; that is not told to who asks.
    """
    token = EMAIL_CHANGE.make(user, new_email)  # now, so that whatever ends it from here on does
    mail.queue_for_whoever_has(new_email, mail.send_email_change, user=user.pk, token=token)
    mail.EmailChangeNotice(user).queue()
    audit.record(Kind.EMAIL_CHANGE_ASKED, user)


@again_after_deadlock
@transaction.atomic
def change_email(user: User, token: str) -> None:
    """Move the account to the address that `token` proves. Raises InvalidLink, EmailTaken."""
    user = _locked(user)
    new_email = EMAIL_CHANGE.read(user, token)
    if new_email is None:
        raise InvalidLink
    user.email, user.email_verified_at = new_email, timezone.now()
    _save_unique(user, update_fields=["email", "email_verified_at"])
    audit.record(Kind.EMAIL_CHANGED, user)


@again_after_deadlock
@transaction.atomic
def keep_email(user: User, token: str) -> None:
    """Undo the change of address of which the notice with `token` told, whether or not it was done.

    Whoever asked for it got in. So every token and login ends, and what they knew or made to sign in with: the
    password, and the providers. A mail to the old address lets its reader set a new password.
    Raises InvalidLink, and EmailTaken where another account has proved the old address meanwhile.
    """
    user = _locked(user)
    old_email = EMAIL_UNDO.use(user, token)
    if old_email is None:
        raise InvalidLink
    user.email = old_email
    same_address = User.objects.filter(email=user.email, is_active=True).exclude(pk=user.pk)
    for squatter in same_address.filter(email_verified_at=None).select_for_update(no_key=True):
        close_account(squatter)  # a thief could sign up with the address, and never prove it
    user.email_verified_at = timezone.now()
    user.set_unusable_password()
    _save_unique(user, update_fields=["email", "email_verified_at", "password"])
    TokenFamily.objects.filter(user=user).delete()
    UserSocialAuth.objects.filter(user=user).delete()
    audit.record(Kind.EMAIL_KEPT, user)
    mail.PasswordResetEmail(user).queue()


@transaction.atomic
def close_account(user: User) -> None:
    """Anonymise the account: address, names and tokens go; the row stays, and what others have through it.

    Raises InvalidToken for the second of two.
    """
    user = lock_account(user)
    account_closed.send(User, user=user)
    OutgoingEmail.objects.filter(reader=user).delete()
    if user.email_verified:  # else what waits for the address may be another's
        MailRequest.objects.filter(email=user.email).delete()
    TokenFamily.objects.filter(user=user).delete()
    PendingUndo.objects.filter(user=user).delete()
    UserSocialAuth.objects.filter(user=user).delete()
    user.email = None
    user.username = made_up_username().replace("user-", "closed-")
    user.set_unusable_password()
    user.is_active = user.is_staff = user.is_superuser = user.discoverable_by_email = False
    user.closed_at = timezone.now()
    user.save()
    user.groups.clear()
    user.user_permissions.clear()
    about_them = {"content_type": ContentType.objects.get_for_model(User), "object_id": str(user.pk)}
    LogEntry.objects.filter(**about_them).update(object_repr=str(user))  # the admin's log had their name
    AuditEvent.objects.filter(user=user).update(client="")
    audit.record(Kind.ACCOUNT_CLOSED, user)


@transaction.atomic
def send_again(mails: Iterable[OutgoingEmail], by: User) -> int:
    """Put those of `mails` that were given up back into the queue, and tell how many these were."""
    again = [failed for failed in mails if failed.wait_again()]
    for failed in again:
        audit.record(Kind.MAIL_SENT_AGAIN, failed.reader_id, by=by, mail=str(failed.pk))
    transaction.on_commit(deliver_waiting_mail_soon)
    return len(again)


def lock_account(user: User) -> User:
    """The account as it is stored, unchanged by others until the end of the transaction.

    Raises InvalidToken where it was closed since the request came: what asks for the lock came with a token.
    """
    stored = _locked(user)
    if stored.closed_at:
        raise InvalidToken
    return stored


_LOCKED = CompiledQuery[User](lambda user_id: User.objects.filter(pk=user_id).select_for_update(no_key=True), ID)


def _locked(user: User) -> User:
    [stored] = _LOCKED.objects(user.pk)
    return stored
