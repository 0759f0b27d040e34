"""Limits that hold however many requests come at once: one counter row a subject and span, raised by one UPDATE."""

import time
from datetime import UTC, datetime

from django.conf import settings
from django.db.models import F
from django.utils.crypto import salted_hmac

from users.errors import MailLimitReached
from users.models import Usage, User

Limits = list[tuple[int, int]]


def hit(name: str, subject: str, limits: Limits) -> int:
    """Count one use by `subject`; return 0, or the seconds to wait when one of `limits` is used up.

    `limits` are pairs of how often and in how many seconds. The subject is kept as a keyed hash. Call it outside a
    transaction: a count must stay when what it counted is refused.
    """
    now = int(time.time())
    for most, span in limits:
        ends = (now // span + 1) * span
        key = salted_hmac("users.limits", f"{name}:{span}:{ends}:{subject}", algorithm="sha256").hexdigest()
        usage = Usage.objects.filter(key=key, count__lt=most)
        if usage.update(count=F("count") + 1):
            continue
        Usage.objects.bulk_create([Usage(key=key, ends_at=datetime.fromtimestamp(ends, UTC))], ignore_conflicts=True)
        if not usage.update(count=F("count") + 1):
            return ends - now
    return 0


def count_mail(*, to: str, sender: User | None = None) -> None:
    """Count a mail that somebody asks for, whether or not there is an account to send it to. Raises MailLimitReached.

    Dots and +tags make no new mailbox here.
    """
    local, _at, domain = to.partition("@")
    mailbox = f"{local.split('+')[0].replace('.', '')}@{domain}"
    wait = hit("mail-sender", str(sender.pk), settings.THROTTLE_MAIL_SENDER) if sender else 0
    wait = wait or hit("mailbox", mailbox, settings.THROTTLE_MAIL_MAILBOX)
    if wait:
        raise MailLimitReached(wait)
