"""The audit trail: what happened to whose account, one row each, written once and without a secret."""

from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.utils import timezone

from config.api import metrics
from config.api.compiled import ID, CompiledQuery
from config.api.context import client_pseudonym, client_pseudonyms, request_id
from users.models import AuditEvent, User

REMEMBERED_FOR = timedelta(days=90)
NOBODY = 0  # among the ids of users


def record(
    kind: AuditEvent.Kind, user: User | int | None = None, *, by: User | int | None = None, **detail: str
) -> None:
    """Write down that `kind` happened to `user`, by their own hand or that of `by`. Either may be an id."""
    user_id, actor_id = (who.pk if isinstance(who, User) else who for who in (user, by))
    here = {"client": client_pseudonym(), "request_id": request_id.get()}
    AuditEvent(kind=kind, user_id=user_id, actor_id=actor_id, detail=detail, **here).insert()
    transaction.on_commit(metrics.ACCOUNT_EVENTS.labels(kind).inc)


_SIGN_IN = CompiledQuery[AuditEvent](
    lambda user_id, client, since: AuditEvent.objects.filter(
        user_id=user_id, kind=AuditEvent.Kind.SIGNED_IN, client=client, created_at__gt=since
    ).values_list("pk")[:1],
    ID,
    "a client",
    datetime(2001, 1, 1, tzinfo=UTC),
)


def has_signed_in_from_here(user: User | None) -> bool:
    """Whether somebody signed in to the account from the same client lately; it costs the same where there is none."""
    user_id, since = user.pk if user else NOBODY, timezone.now() - REMEMBERED_FOR
    found = [_SIGN_IN.rows(user_id, client, since) for client in client_pseudonyms()]
    return any(found)
