"""Limits: how often one may do what. Each is a setting, `THROTTLE_*`; refusals say how long to wait.

Call these outside a transaction: a count must stay when what it counted is refused. The mail of a sign-up is the
exception: it is counted with the account, or not at all.
"""

import logging
import time
from dataclasses import dataclass

from django.conf import settings
from django.utils.crypto import salted_hmac

from config.api import context, metrics
from users import audit, counters
from users.errors import LimitReached
from users.models import AuditEvent, User

logger = logging.getLogger(__name__)

Kind = AuditEvent.Kind
HOUR, DAY = 3600, 86400
MANY = 2**31 - 1
FEWEST_ALARMING_MISSES = 100  # a day; below it, ten times the usual is no news


@dataclass(frozen=True)
class Bucket:
    """What one subject does of one kind, with its limits: pairs of how often and in how many seconds."""

    name: str
    subject: str
    limits: list[tuple[int, int]]

    def spans(self, now: int) -> list[tuple[str, int, int]]:
        """Key, most and end of the counter of each limit. The subject is kept as a keyed hash."""
        ends = [(most, span, (now // span + 1) * span) for most, span in self.limits]
        return [(_key(f"{self.name}:{span}:{end}:{self.subject}"), most, end) for most, span, end in ends]


def _key(text: str) -> str:
    return salted_hmac("users.limits", text, algorithm="sha256").hexdigest()


class Use:
    """One use of some buckets. Counted in all of them, or in none and LimitReached."""

    def __init__(self, *buckets: Bucket) -> None:
        now = int(time.time())
        self.counted: dict[str, list[str]] = {bucket.name: [] for bucket in buckets}
        for bucket in buckets:
            for key, most, end in bucket.spans(now):
                if not counters.count(key, most, end):
                    metrics.LIMITED.labels(bucket.name, "refused").inc()
                    self.refund()
                    raise LimitReached(end - now)
                self.counted[bucket.name].append(key)
        for bucket in buckets:
            metrics.LIMITED.labels(bucket.name, "allowed").inc()

    def refund(self, *names: str) -> None:
        """Uncount it, in the buckets of these names or in all."""
        for name in names or self.counted:
            for key in self.counted[name]:
                counters.uncount(key)

    def reset(self, *names: str) -> None:
        """Forget this use and all before it, in the buckets of these names."""
        for name in names:
            for key in self.counted.get(name, ()):
                counters.reset(key)


def count_mail(*, to: str) -> None:
    """Count a mail that somebody asks for, whether or not there is an account to send it to. Raises LimitReached."""
    Use(
        Bucket("mail-client", context.client.get(), settings.THROTTLE_MAIL_CLIENT),
        _mailbox(to),
    )


def count_notice(user: User) -> None:
    """Count what will be told to the account's own address, in a bucket that nobody else fills. Raises LimitReached."""
    bucket = _mailbox(user.email or "")
    Use(Bucket("notice", bucket.subject, bucket.limits))


def count_mail_if_room(to: str) -> bool:
    """Count a mail that nobody asks for by itself, that of a sign-up; false where the mailbox has had its share."""
    try:
        Use(_mailbox(to))
    except LimitReached:
        return False
    return True


def _mailbox(address: str) -> Bucket:
    """Dots and +tags make no new mailbox here."""
    local, _at, domain = address.partition("@")
    mailbox = f"{local.split('+')[0].replace('.', '')}@{domain}"
    return Bucket("mailbox", mailbox, settings.THROTTLE_MAIL_MAILBOX)


def count_sign_up() -> None:
    """Count a try to sign up, or to leave for a provider, by its client. Raises LimitReached."""
    Use(Bucket("sign-up", context.client.get(), settings.THROTTLE_SIGN_UP))


def code_check() -> Use:
    """Count a look at a code, by its client. Raises LimitReached."""
    return Use(Bucket("code-check", context.client.get(), settings.THROTTLE_CODE_CHECK))


def count_lookup(user: User) -> None:
    """Count a look-up of somebody by their address. Raises LimitReached."""
    Use(Bucket("lookup", str(user.pk), settings.THROTTLE_LOOKUP))


def count_export(user: User) -> None:
    """Raises LimitReached."""
    Use(Bucket("export", str(user.pk), settings.THROTTLE_EXPORT))


def password_try(subject: str, user: User | None) -> Use:
    """Count a look at a password, that of `user` if there is one to what was typed. Raises LimitReached.

    It counts as a failure from the start, so that a hundred at once are a hundred. Who has signed in to the account
    from the same client before is not held up by what others try elsewhere.
    """
    client = context.client.get()
    buckets = [
        Bucket("sign-in", f"{subject} {client}", settings.THROTTLE_SIGN_IN),
        Bucket("sign-in-client", client, settings.THROTTLE_SIGN_IN_CLIENT),
    ]
    if not audit.has_signed_in_from_here(user):
        buckets.append(Bucket("sign-in-account", subject, settings.THROTTLE_SIGN_IN_ACCOUNT))
    try:
        return Use(*buckets)
    except LimitReached:
        if _first_of_the_hour(f"sign-in-limited {subject} {client}"):
            audit.record(Kind.SIGN_IN_LIMITED, user)
        raise


def password_was_right(use: Use) -> None:
    """It was no failure after all, and ends the row of those before it."""
    use.reset("sign-in", "sign-in-account")
    use.refund("sign-in-client")


def count_code_miss() -> None:
    """Count a code that nobody has; far more of them in a day than on the seven days before raise an alarm."""
    day = int(time.time()) // DAY
    keys = [_key(f"code-miss:{day - ago}") for ago in range(8)]
    counters.count(keys[0], MANY, (day + 9) * DAY)
    usual = counters.total(keys[1:]) / 7
    if counters.total(keys[:1]) > max(FEWEST_ALARMING_MISSES, 10 * usual) and _first_of_the_hour("code-guessing"):
        logger.error("codes are being guessed: more misses today than ten times the usual")
        audit.record(Kind.CODE_GUESSING)


def _first_of_the_hour(what: str) -> bool:
    hour = int(time.time()) // HOUR
    return counters.count(_key(f"noted:{hour}:{what}"), 1, (hour + 1) * HOUR)
