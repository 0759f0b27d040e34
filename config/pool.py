"""The connections of a web process to PostgreSQL: pools in which nothing is waited for for long.

Commands like `migrate` and `backup` have connections of their own, which may take their time.
"""

import time
from datetime import UTC
from typing import Any, TypeVar

import psycopg
from django.conf import settings
from django.core.cache import close_caches
from django.core.signals import request_finished, request_started
from django.db import reset_queries
from psycopg.abc import PQGen
from psycopg.pq import Format

RV = TypeVar("RV")
FRESH_FOR = 1.0  # seconds
MOST_KEPT = 100  # cursors of a connection
PATIENCE = 4.0  # seconds, for the server to say anything
LIMITS = {  # in milliseconds
    "statement_timeout": 3500,
    "lock_timeout": 3500,
    "idle_in_transaction_session_timeout": 30_000,
    "client_connection_check_interval": 1000,  # so that a statement and its locks end with who asked for it
}
PLANS = {"enable_bitmapscan": "off"}
"""A prepared statement is planned for an average referrer, whose few referrals it may gather and sort. Of one who has
100,000 it then does so too; without this it reads any list in order, off its index."""
POOL = {
    "min_size": 0,
    "timeout": 2,  # seconds until a request that gets no connection is told so
    "max_lifetime": 3600,
    "reconnect_timeout": 2,  # after which the next request tries anew, rather than wait for a longer and longer pause
}


class MomentLoader:
    """psycopg's own, which is written in C; that of Django is not, and takes a tenth of a page of 100 rows."""

    format = Format.TEXT
    timezone = UTC  # which Django looks at

    def __init__(self, oid: int, context: Any = None) -> None:
        loader: Any = psycopg.adapters.get_loader(oid, self.format)
        self.load = loader(oid, context).load


class Connection(psycopg.Connection[Any]):
    """Ends when its server is silent: for one that is frozen, its machine goes on to answer, and TCP never gives up."""

    heard_at = 0.0
    kept: dict[str, psycopg.Cursor[Any]]

    @classmethod
    def connect(cls, *args: Any, **kwargs: Any) -> "Connection":
        connection = super().connect(*args, **kwargs)
        connection.adapters.register_loader("timestamptz", MomentLoader)
        connection.kept = {}
        return connection

    def kept_cursor(self, sql: str) -> Any:
        """For a statement that comes again, with all that psycopg has looked up for its values and columns.

        Values come as PostgreSQL has them: to write moments as text is a tenth of what a page of 100 rows costs it.
        """
        cursor = self.kept.get(sql)
        if cursor is None:
            if len(self.kept) == MOST_KEPT:
                self.kept.clear()
            cursor = self.kept[sql] = self.cursor(binary=True)
        return cursor

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> psycopg.Cursor[Any]:
        """Nothing at all is what the pool asks, to see whether a connection is alive. What spoke just now, is."""
        if query == "" and time.monotonic() - self.heard_at < FRESH_FOR:
            return self.kept_cursor(query)
        return super().execute(query, *args, **kwargs)

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        try:
            said = super().wait(gen, interval, PATIENCE if timeout is None else timeout)
        except psycopg.OperationalError as error:
            if not error.sqlstate:  # no word of the server's
                self.pgconn.finish()
            raise
        self.heard_at = time.monotonic()
        return said


def use_pool() -> None:
    """Have this process take its connections to each database from a pool, with one for each thread and two more.

    Before its first connection, and in a process that does not fork afterwards.
    """
    pool = POOL | {"max_size": settings.WEB_THREADS + 2, "connection_class": Connection}
    ours = {"pool": pool, "connect_timeout": 3, "application_name": "referral-service"}
    if not settings.PGBOUNCER:  # which refuses them, and sets the limits itself: deploy/pgbouncer.ini
        ours["options"] = " ".join(f"-c {name}={value}" for name, value in (LIMITS | PLANS).items())
    for database in settings.DATABASES.values():
        if database["ENGINE"].endswith("postgresql"):
            database |= {"CONN_MAX_AGE": 0, "OPTIONS": ours | database.get("OPTIONS", {})}
    if not settings.DEBUG:
        request_started.disconnect(reset_queries)  # which DEBUG alone logs
    request_finished.disconnect(close_caches)  # ours keep their clients
