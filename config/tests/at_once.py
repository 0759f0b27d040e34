"""Tools for tests of what happens at once: work on connections of its own, and a look at another database."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Barrier, Event
from typing import Any
from unittest.mock import patch

import dj_database_url
from django.contrib.auth.hashers import MD5PasswordHasher
from django.db import connection, connections, transaction

Work = Callable[..., Any]
WRITES = ("BEGIN IMMEDIATE", "INSERT", "UPDATE", "DELETE")


def on_own_connection(work: Work, *args: Any, **kwargs: Any) -> Any:
    """Do `work` in a thread and leave no connection behind."""
    try:
        return work(*args, **kwargs)
    finally:
        connection.close()


def all_at_once(*works: Callable[[], Any]) -> list[Any]:
    """What each of `works` returns; they start together."""
    start = Barrier(len(works))

    def wait_and_work(work: Callable[[], Any]) -> Any:
        start.wait(timeout=30)
        return on_own_connection(work)

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(wait_and_work, works))


@contextmanager
def transaction_in_progress() -> Iterator[Callable[..., "Future[Any]"]]:
    """A transaction of ours, and what starts work beside it that has to wait for it.

    `start` returns once the work waits, by which time it has read whatever it reads without a lock: so a lock that is
    missing shows each time. The work goes on when the transaction ends, and is done when the block is left.
    """
    with ThreadPoolExecutor() as pool, transaction.atomic():

        def start(work: Work, *args: Any, **kwargs: Any) -> "Future[Any]":
            writes = Event()
            late = pool.submit(on_own_connection, _watched, writes, work, *args, **kwargs)
            for _look in range(3000):
                if _somebody_waits_for_us() if connection.vendor == "postgresql" else writes.is_set():
                    return late
                assert not late.done(), f"it did not wait: {late}"
                time.sleep(0.01)
            raise AssertionError("it neither waits nor ends")

        yield start


def _somebody_waits_for_us() -> bool:
    with connection.cursor() as cursor:
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
        cursor.execute(f"SELECT EXISTS ({waiting})")
        return bool(cursor.fetchone()[0])


def _watched(writes: Event, work: Work, *args: Any, **kwargs: Any) -> Any:
    """Do `work` and tell of its first write: SQLite has one writer at a time, and while that is us, the work waits."""

    def watch(execute: Work, sql: str, *rest: Any) -> Any:
        if sql.startswith(WRITES):
            writes.set()
        return execute(sql, *rest)

    with connection.execute_wrapper(watch):
        return work(*args, **kwargs)


@contextmanager
def hashing_held_up(password: str) -> Iterator[Event]:
    """Let the hashing of `password` go on only at the end of the block; the event tells that it has begun."""
    begun, go_on, encode = Event(), Event(), MD5PasswordHasher.encode

    def wait_and_encode(hasher: MD5PasswordHasher, given: str, salt: str) -> str:
        if given == password:
            begun.set()
            assert go_on.wait(timeout=60)
        return encode(hasher, given, salt)

    with patch.object(MD5PasswordHasher, "encode", wait_and_encode):
        try:
            yield begun
        finally:
            go_on.set()


@contextmanager
def database_for_threads(folder: Path) -> Iterator[None]:
    """On SQLite, where a database in memory knows no waiting, the test goes on in a copy of it in a file."""
    if connection.vendor != "sqlite":
        yield
        return
    connection.ensure_connection()
    with closing(sqlite3.connect(folder / "db.sqlite3")) as copy:
        connection.connection.backup(copy)
    with models_at(f"sqlite:///{folder}/db.sqlite3"):
        yield


@contextmanager
def models_at(database_url: str) -> Iterator[None]:
    """Have the models read and write another database, in every thread of this process."""
    settings, ours, there = connections.settings, connections["default"], dj_database_url.parse(database_url)
    same_kind = there["ENGINE"] == ours.settings_dict["ENGINE"]
    there["OPTIONS"] = ours.settings_dict["OPTIONS"] if same_kind else {}
    settings["default"] = settings["default"] | there
    connections["default"] = connections.create_connection("default")
    try:
        yield
    finally:
        connections["default"].close()
        connections["default"], settings["default"] = ours, ours.settings_dict
