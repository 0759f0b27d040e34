"""Reads that may lag, done by the replica where `DATABASE_REPLICA_URL` names one. What decides a write never asks here.

People read their own writes: who has just written reads the primary, for longer than a replica that is read can be
behind. That is noted in Redis, for all web processes. A process that has no answer of Redis, or none of the replica,
reads the primary for some seconds.
"""

import logging
import time
from collections.abc import Callable
from threading import Lock
from typing import TypeVar

from django.conf import settings
from django.core.cache import cache
from django.db import DEFAULT_DB_ALIAS, Error, connection, connections
from django.http import HttpRequest, HttpResponse
from redis import RedisError
from rest_framework.permissions import SAFE_METHODS

from config.api import context, metrics

logger = logging.getLogger(__name__)

T = TypeVar("T")
REPLICA = "replica"
MOST_BEHIND = 5  # seconds
GOOD_FOR = 1  # seconds until a replica that keeps up is asked again whether it does
BAD_FOR = 5  # seconds until one that does not is
OWN_WRITES_FOR = 10  # seconds: more than MOST_BEHIND and GOOD_FOR together
OF_ONE_READ = {"40001", "40P01", "57014"}  # of PostgreSQL: replay wanted what was read, or the time was over

_lock = Lock()
_why_not, _until = "", 0.0
_unsure_until = 0.0


def read(ask: Callable[[str], T], *, by: int) -> T:
    """What `ask` finds in the database whose alias it is given, which is the primary unless the replica will do.

    `by` is the id of who wants to know. `ask` may be called twice: the replica fails nobody.
    """
    if not settings.DATABASE_REPLICA_URL or connection.in_atomic_block:
        return ask(DEFAULT_DB_ALIAS)
    outcome = _why_not_now() or _why_not_for(by) or "replica"
    if outcome == "replica":
        try:
            found = ask(REPLICA)
        except Error as error:
            outcome = _failed(error)
        else:
            metrics.REPLICA_READS.labels(outcome).inc()
            return found
    metrics.REPLICA_READS.labels(outcome).inc()
    return ask(DEFAULT_DB_ALIAS)


def _why_not_now() -> str:
    """`away` or `behind` where nobody should read the replica, as one thread finds out for all now and then."""
    global _why_not, _until
    with _lock:
        if time.monotonic() < _until:
            return _why_not
        _why_not, _until = "away", time.monotonic() + BAD_FOR  # to the others, while this thread waits for an answer
    try:
        return _conclude("" if _keeps_up() else "behind")
    except Error as error:
        return _failed(error)


def _keeps_up() -> bool:
    """Whether the replica has all that the primary has, or what it had MOST_BEHIND ago, by the primary's clock.

    A server that is no replica has no such position, and does not keep up.
    """
    with connection.cursor() as primary:
        primary.execute("SELECT pg_current_wal_flush_lsn(), now() - make_interval(secs => %s)", [MOST_BEHIND])
        position_and_time = primary.fetchone()
    with connections[REPLICA].cursor() as replica:
        replica.execute(
            "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn OR pg_last_xact_replay_timestamp() > %s", position_and_time
        )
        return bool(replica.fetchone()[0])


def _failed(error: Error) -> str:
    logger.warning("the replica does not serve: %s", type(error).__name__)
    return "failed" if getattr(error.__cause__, "sqlstate", None) in OF_ONE_READ else _conclude("away")


def _conclude(why_not: str) -> str:
    global _why_not, _until
    with _lock:
        _why_not, _until = why_not, time.monotonic() + (BAD_FOR if why_not else GOOD_FOR)
    return why_not


def _why_not_for(user_id: int) -> str:
    """`own_writes` where this person has just written, `unsure` where Redis did not say or could not be told."""
    if time.monotonic() < _unsure_until:
        return "unsure"
    try:
        return "own_writes" if cache.get(_key(user_id)) else ""
    except RedisError:
        return _unsure()


def note_write(user_id: int) -> None:
    """Have this person read the primary for a while, in every process."""
    try:
        cache.set(_key(user_id), True, OWN_WRITES_FOR)
    except RedisError:
        _unsure()


def _unsure() -> str:
    global _unsure_until
    _unsure_until = time.monotonic() + OWN_WRITES_FOR
    logger.warning("Redis does not say who has just written: the replica is not read")
    return "unsure"


def _key(user_id: int) -> str:
    return f"wrote:{user_id}"


class OwnWritesMiddleware:
    """Notes who wrote before they are answered, for then they may read."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        user_id = context.user_id.get()
        if user_id is not None and request.method not in SAFE_METHODS and response.status_code < 400:
            note_write(user_id)
        return response
