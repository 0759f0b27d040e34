"""Deletion of what is over, in bites: none holds a lock for long, and what is stopped half-way goes on next time."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models import Q, QuerySet
from django.utils import timezone
from social_django.models import Association, Nonce

from users.models import AuditEvent, MailRequest, OutgoingEmail, PendingUndo, TokenFamily, Usage
from users.signals import tidying

BITE = 1000  # rows


def delete_what_is_over() -> dict[str, int]:
    """Delete what nobody can use any more or has been kept long enough, and tell how many rows of what.

    Logins stay for a day after their end. Mail that still waits stays, however old it is.
    """
    now = timezone.now()
    yesterday = now - timedelta(days=1)
    through = Q(sent_at__isnull=False) | Q(failed_at__isnull=False)
    over: dict[str, QuerySet[Any]] = {
        "counts": Usage.objects.filter(ends_at__lte=now).order_by("ends_at"),
        "logins": TokenFamily.objects.filter(expires_at__lt=yesterday).order_by("expires_at"),
        "undos": PendingUndo.objects.filter(ends_at__lte=now).order_by("ends_at"),
        "requests": MailRequest.objects.filter(created_at__lt=yesterday),
        "sessions": Session.objects.filter(expire_date__lt=now).order_by("expire_date"),
        "states": Nonce.objects.filter(timestamp__lt=yesterday.timestamp()),  # of who left for a provider for good
        "nonces": Association.objects.filter(issued__lt=yesterday.timestamp()),
        "mails": _older(OutgoingEmail.objects.filter(through), settings.MAIL_RETENTION_DAYS),
        "events": _older(AuditEvent.objects.all(), settings.AUDIT_RETENTION_DAYS),
    }
    theirs: Any
    for _receiver, theirs in tidying.send(None):
        over |= theirs
    return {name: _delete(rows) for name, rows in over.items()}


def _older(rows: QuerySet[Any], days: int) -> QuerySet[Any]:
    """Those made more than `days` ago; none where they are kept for ever."""
    created = rows.filter(created_at__lt=timezone.now() - timedelta(days=days)).order_by("created_at")
    return created if days else rows.none()


def _delete(rows: QuerySet[Any]) -> int:
    deleted = 0
    while bite := list(rows.values_list("pk", flat=True)[:BITE]):
        deleted += rows.filter(pk__in=bite).delete()[0]
    return deleted
