"""What anyone may see of a code; where there is Redis, it is kept there for a minute.

No write is decided by what is kept, no entry outlives its code, and whoever changes what one shows drops it.

A reader that read the row before a change could still keep it after the drop. So a drop leaves a tombstone, and readers
only ever add: while it stands they keep nothing, and by its end what was read before the change is too old to be kept.
"""

import logging
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial

from django.conf import settings
from django.core.cache import cache
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from redis import RedisError

from config.api import metrics
from config.api.compiled import CompiledQuery
from referrals.models import ReferralCode, WithShareLink

logger = logging.getLogger(__name__)

LIFE = 60
"""Seconds that a code is shown as it was read, at most."""

OLDEST = 10
"""Seconds after which what was read is not kept any more; no answer takes as long."""

TOMBSTONE_LIFE = 15  # more than OLDEST and what Redis may take


_USABLE = CompiledQuery[ReferralCode](
    lambda folded: (
        ReferralCode.objects.usable()
        .filter(folded=folded)
        .values_list("id", "owner_id", "code", "owner__username", "expires_at", F("expires_at") - Now())
    ),
    "CODE",
)


@dataclass(frozen=True)
class PublicCode(WithShareLink):
    """What is kept; with its fields, the number in `_key` changes, since old and new code run side by side."""

    id: int
    owner_id: int
    code: str
    username: str
    expires_at: datetime


def read(folded: str) -> PublicCode | None:
    """The usable code of this folded form, as the database has it."""
    return _read(folded)[0]


def find(folded: str) -> PublicCode | None:
    """The same, as it was within the last minute. While Redis does not answer, the database does.

    What is not found is not kept: else strangers could fill Redis, and a new code would be unknown for a while.
    """
    if not settings.REDIS_URL:
        return read(folded)
    try:
        kept = cache.get(_key(folded))
    except RedisError:
        metrics.CODE_CACHE.labels("error").inc()
        return read(folded)
    if kept:
        metrics.CODE_CACHE.labels("hit").inc()
        return PublicCode(**kept | {"expires_at": datetime.fromisoformat(kept["expires_at"])})
    metrics.CODE_CACHE.labels("miss").inc()
    began = time.monotonic()
    found, left = _read(folded)
    if found:
        _keep(folded, found, left, began)
    return found


def drop(folded: str) -> None:
    """Show no longer what is kept of a code, once the transaction that changes it is committed.

    Where Redis does not answer then, or the process dies, an entry ends by itself.
    """
    transaction.on_commit(partial(_bury, folded))


def _key(folded: str) -> str:
    return f"code:2:{folded}"


def _read(folded: str) -> tuple[PublicCode | None, float]:
    """The usable code, and how many seconds it has left: both by the database's clock."""
    for *fields, left in _USABLE.rows(folded):
        return PublicCode(*fields), left.total_seconds()
    return None, 0


def _keep(folded: str, found: PublicCode, left: float, began: float) -> None:
    """Keep what was read since the moment `began`, unless there is a tombstone."""
    age = time.monotonic() - began
    life = int(min(left, LIFE) - age)
    if age > OLDEST or life < 1:
        return
    try:
        cache.add(_key(folded), asdict(found) | {"expires_at": found.expires_at.isoformat()}, life)
    except RedisError:
        metrics.CODE_CACHE.labels("error").inc()


def _bury(folded: str) -> None:
    try:
        cache.set(_key(folded), None, TOMBSTONE_LIFE)
    except RedisError:
        metrics.CODE_CACHE.labels("error").inc()
        logger.warning("Redis does not answer: for a minute, look-ups may show a code as it was before a change")
