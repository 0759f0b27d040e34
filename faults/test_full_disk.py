"""F10: no space left, for the database, and for mails and log lines."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config.tests.at_once import models_at
from faults import shapes
from faults.load import call
from faults.processes import until
from faults.shapes import Shape
from users.models import OutgoingEmail
from users.tests.factories import make_user


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A folder with a file system of its own, of 24 MiB."""
    with tempfile.TemporaryDirectory(prefix="faults_") as folder:
        mounting = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0777", "tmpfs", folder]
        if sys.platform != "linux" or subprocess.run(mounting, capture_output=True).returncode:
            pytest.skip("needs to mount a small tmpfs, which takes root on Linux")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Not a byte is left on it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (2**16, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    try:
        yield
    finally:
        filler.unlink()


def test_with_its_disk_full_sqlite_serves_readers_and_recovers(small_disk, django_db_blocker):
    """F10"""
    with shapes.embedded(small_disk) as shape, models_at(shape.service.database_url):
        check_full_disk(shape, small_disk)


def test_with_its_disk_full_postgresql_serves_readers_and_recovers(small_disk, postgres):
    """F10: what is full is the disk of the tables. Without room for its log PostgreSQL stops, which is F4."""
    folder = small_disk / "tables"
    folder.mkdir()
    postgres.own(folder)
    postgres.ask("postgres", f"CREATE TABLESPACE small LOCATION '{folder}'")
    try:
        with shapes.production(postgres, more="TABLESPACE small") as shape, models_at(shape.service.database_url):
            try:
                check_full_disk(shape, small_disk)
            finally:
                postgres.drop_database(shape.service.database_url)
    finally:
        postgres.ask("postgres", "DROP TABLESPACE small")


def check_full_disk(shape: Shape, disk: Path) -> None:
    user = make_user()
    access = shape.sign_in(user)["access"]
    load = shape.load("full")
    with load.running(4):
        until(lambda: load.answers()[201] > 3)
        with full(disk):
            began = time.monotonic()
            until(lambda: load.first(503, since=began))
            refused = load.first(503, since=began)
            reads = [
                call(shape.port, "GET", path, token=access).status
                for path in ("/auth/users/me/", f"/api/referrals/{user.pk}/", "/healthz")
            ]
            time.sleep(2)
        healed = time.monotonic()
        until(lambda: load.first(201, since=healed), seconds=20)
        back = load.first(201, since=healed)
    assert reads == [200] * 3
    shape.check(load)
    print(f"disk full: 503 after {refused:.1f} s, 201 {back:.1f} s after there was room")


def test_with_the_disk_of_mails_and_log_lines_full_all_goes_on_and_the_mail_comes_later(small_disk):
    """F10"""
    mails = small_disk / "mails"
    with shapes.embedded(EMAIL_FILE_PATH=str(mails), log=small_disk / "log") as shape:
        load = shape.load("log")
        with full(small_disk), load.running(4):
            time.sleep(3)
        assert load.answers().keys().isdisjoint({503, None})
        with models_at(shape.service.database_url):
            assert OutgoingEmail.objects.filter(to__startswith="log", sent_at=None).exists()
            shape.check(load)
    delivered = "".join(file.read_text() for file in mails.glob("*.log"))
    assert not [call["person"] for call in load.journal.calls() if f"To: {call['person']}\n" not in delivered]
