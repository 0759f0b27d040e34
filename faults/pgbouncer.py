"""PgBouncer as `deploy/pgbouncer.ini` sets it up, in front of a PostgreSQL that the tests have started."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import psycopg
import pytest

from config.tests.live import ROOT, free_port
from faults.processes import until

CONNECTIONS = 5
"""To the server: fewer than a web process has threads, so that no client has one for itself."""


@contextmanager
def running_pgbouncer(folder: Path, server_port: int, database: str) -> Iterator[str]:
    """The URL of a database, by way of PgBouncer. Changed of what is shipped: addresses, who may come, how many."""
    if shutil.which("pgbouncer") is None:
        pytest.fail("needs pgbouncer: apt-get install pgbouncer")
    port = free_port()
    text = (ROOT / "deploy/pgbouncer.ini").read_text("utf-8")
    for shipped, here in (
        ("referral = host=postgres port=5432 dbname=referral", f"{database} = host=127.0.0.1 port={server_port}"),
        ("listen_addr = *", "listen_addr = 127.0.0.1\nunix_socket_dir ="),
        ("listen_port = 6432", f"listen_port = {port}"),
        ("auth_type = scram-sha-256", "auth_type = trust"),
        ("/etc/pgbouncer/userlist.txt", f"{folder}/userlist.txt"),
        ("default_pool_size = 20", f"default_pool_size = {CONNECTIONS}"),
    ):
        assert shipped in text
        text = text.replace(shipped, here)
    (folder / "pgbouncer.ini").write_text(text)
    (folder / "userlist.txt").write_text('"postgres" ""\n')
    folder.chmod(0o755)  # PgBouncer will not be root
    url = f"postgres://postgres@127.0.0.1:{port}/{database}"
    with (folder / "pgbouncer.log").open("wb") as log:
        bouncer = Popen(["pgbouncer", "-u", "nobody", f"{folder}/pgbouncer.ini"], stdout=log, stderr=log)
        try:
            until(lambda: _answers(url))
            yield url
        finally:
            bouncer.terminate()
            bouncer.wait(timeout=30)


def _answers(url: str) -> bool:
    try:
        with psycopg.connect(url):
            return True
    except psycopg.OperationalError:
        return False
