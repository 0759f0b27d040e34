"""A copy of the whole database in one file, and the way back from it.

A backup knows nothing of what came after it. So what would be wrong about that time ends as it is restored, in the same
transaction: every login (one that was ended since would be alive again), mail that was waiting (most of it has gone out
since; it is kept back for staff to look at), and the numbers that accounts were given (each stays with who had it).
"""

import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO, cast

from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.backends.postgresql.client import DatabaseClient
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from users.models import MailRequest, OutgoingEmail, TokenFamily, User

KEPT_BACK = "Restored"
"""What a mail that waited in a backup has for its last error."""

GAP = 1_000_000  # more than ever came between a backup and its restoration
MADE_BY_MIGRATE = {
    model._meta.db_table
    for model in (ContentType, Group, Group.permissions.through, MigrationRecorder.Migration, Permission)
}
NUMBERED = (User._meta.db_table, TokenFamily._meta.db_table)
END_WHAT_CAME_AFTER = f"""
DELETE FROM {TokenFamily._meta.db_table};
DELETE FROM {Session._meta.db_table};
DELETE FROM {MailRequest._meta.db_table};
UPDATE {User._meta.db_table} SET token_version = token_version + 1;
UPDATE {OutgoingEmail._meta.db_table} SET failed_at = CURRENT_TIMESTAMP, last_error = '{KEPT_BACK}'
  WHERE sent_at IS NULL AND failed_at IS NULL;
"""  # noqa: S608 (names of our own)


class BackupError(Exception):
    """Why there is no backup, or why none was restored. Nothing has changed then."""


def back_up(target: Path) -> None:
    """Write the database as it is at one moment to `target`, whole or not at all, for its owner's eyes only."""
    if not target.parent.is_dir():
        raise BackupError(f"There is no folder {target.parent}.")
    with _file_beside(target) as copy:
        if connection.vendor == "postgresql":
            _run("pg_dump", "--format=custom", f"--file={copy}")
        else:
            _copy_sqlite(copy)
        _sync(copy)
        try:
            os.link(copy, target)  # which, unlike a renaming, replaces nothing
        except FileExistsError:
            raise BackupError(f"{target} is there already.") from None
    _sync(target.parent)


def restore(source: Path, *, force: bool = False) -> None:
    """Put what is in a backup in the place of all there is, in one transaction; of data only with `force`."""
    if not source.is_file():
        raise BackupError(f"There is no file {source}.")
    postgresql = connection.vendor == "postgresql"
    _check_version(_migrations_in_dump(source) if postgresql else _migrations_in_copy(source))
    if not force and (tables := _tables_with_data()):
        raise BackupError(f"The database holds data, in {', '.join(tables)}. With --force it is replaced.")
    if postgresql:
        _restore_dump(source)
    else:
        _restore_copy(source)


def _check_version(applied: set[tuple[str, str]]) -> None:
    """Refuse what newer code has made. What older code has made, `migrate` brings up to date."""
    if not applied:
        raise BackupError("This is no backup of this service.")
    known = set(MigrationLoader(None, ignore_no_migrations=True).disk_migrations or {})
    if unknown := sorted(".".join(migration) for migration in applied - known):
        raise BackupError(f"The backup is of a newer version, with {', '.join(unknown)}.")


def _tables_with_data() -> list[str]:
    found = []
    with connection.cursor() as cursor:
        for table in sorted({*connection.introspection.table_names(cursor)} - MADE_BY_MIGRATE):
            cursor.execute(f"SELECT 1 FROM {connection.ops.quote_name(table)} LIMIT 1")  # noqa: S608
            if cursor.fetchone():
                found.append(table)
    return found


@contextmanager
def _file_beside(path: Path) -> Iterator[Path]:
    """An empty file of mode 600 on the same disk, gone at the end."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        os.unlink(name)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- SQLite, by its online backup: readers and writers go on meanwhile ---------------------------


def _copy_sqlite(target: Path) -> None:
    connection.ensure_connection()
    with closing(sqlite3.connect(target)) as copy:
        connection.connection.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, with none beside it
        _check_integrity(copy)


def _check_integrity(copy: sqlite3.Connection) -> None:
    if (
        copy.execute("PRAGMA integrity_check").fetchone() != ("ok",)
        or copy.execute("PRAGMA foreign_key_check").fetchone()
    ):
        raise sqlite3.DatabaseError("the integrity check failed")


def _migrations_in_copy(source: Path) -> set[tuple[str, str]]:
    try:
        with closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as copy:
            _check_integrity(copy)
            return set(copy.execute("SELECT app, name FROM django_migrations"))
    except sqlite3.DatabaseError as error:
        raise BackupError(f"{source} is damaged, or no backup of this service: {error}.") from None


def _restore_copy(source: Path) -> None:
    connection.ensure_connection()
    name = Path(str(connection.settings_dict["NAME"]))
    with _file_beside(name if name.parent.is_dir() else source) as file:
        shutil.copyfile(source, file)
        with closing(sqlite3.connect(file)) as copy:
            copy.executescript(END_WHAT_CAME_AFTER)
            moved = "UPDATE sqlite_sequence SET seq = seq + ? WHERE name IN (?, ?)"
            copy.execute(moved, (GAP, *NUMBERED))
            copy.commit()
            copy.backup(connection.connection)  # in one transaction: who works with the database sees all or nothing
    connection.close()


# --- PostgreSQL, by its own programs --------------------------------------------------------------

BESIDE = Path("/usr/lib/postgresql")  # where Debian has one version beside the other
HEAD = 30  # lines of a dump, before any data


def _program(name: str) -> str:
    """Where a client program is that is no older than the server, which it could not read."""
    server = connection.get_database_version()[0]
    places = filter(None, [shutil.which(name), *map(str, BESIDE.glob(f"*/bin/{name}"))])
    versions = {}
    for place in places:
        said = subprocess.run([place, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
        if number := re.search(r"\) (\d+)", said):
            versions[place] = int(number[1])
            if versions[place] >= server:
                return place
    there = f"only {max(versions.values())}" if versions else "none"
    raise BackupError(f"{name} {server} or newer is needed, of PostgreSQL's client programs; there is {there}.")


def _command(program: str, *options: str) -> tuple[list[str], dict[str, str]]:
    """How to call a client program on the database. The password is in the environment, where `ps` does not look."""
    (_psql, *arguments), variables = DatabaseClient.settings_to_cmd_args_env(connection.settings_dict, list(options))
    return [_program(program), "--no-password", *arguments], os.environ | (variables or {})


def _run(program: str, *options: str) -> None:
    command, environment = _command(program, *options)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise BackupError(f"{program} failed: {done.stderr.strip()}")


def _reader(source: Path, *options: str, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """Turns a dump into the SQL that restores it."""
    command = [_program("pg_restore"), "--no-owner", "--no-privileges", "--file=-", *options, str(source)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)  # noqa: S603


def _migrations_in_dump(source: Path) -> set[tuple[str, str]]:
    with tempfile.TemporaryFile() as errors:
        reader = _reader(source, "--data-only", "--table=django_migrations", errors=errors)
        said, _nothing = reader.communicate()
        if reader.returncode:
            errors.seek(0)
            raise BackupError(f"{source} is damaged, or no backup of this service: {errors.read().decode().strip()}")
    rows = re.search(rb"(?ms)^COPY \S+ \(id, app, name, applied\) FROM stdin;\n(.*?)^\\\.$", said)
    lines = rows[1].decode().splitlines() if rows else []
    return {(app, name) for _id, app, name, _applied in (line.split("\t") for line in lines)}


def _restore_dump(source: Path) -> None:
    """Let psql do all of it in one transaction, which it is told to commit only once the whole dump was read."""
    tables = [connection.ops.quote_name(table) for table in connection.introspection.table_names()]
    numbers = [f"SELECT setval(s, nextval(s) + {GAP}) FROM pg_get_serial_sequence('{t}', 'id') s" for t in NUMBERED]  # noqa: S608
    before = ["BEGIN", *([f"DROP TABLE {', '.join(tables)} CASCADE"] if tables else [])]
    after = ["RESET ALL", END_WHAT_CAME_AFTER, *numbers, "COMMIT"]
    command, environment = _command("psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null")
    with tempfile.TemporaryFile() as errors, _reader(source, errors=errors) as reader:
        connection.close()  # whose locks would be waited for
        psql = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stderr=errors)  # noqa: S603
        with suppress(BrokenPipeError), cast(IO[bytes], psql.stdin) as script, cast(IO[bytes], reader.stdout) as dump:
            script.write(";\n".join([*before, ""]).encode())
            # Client programs of PostgreSQL 17 begin with what an older server does not know, and stops at.
            script.writelines(line for line in islice(dump, HEAD) if not line.startswith(b"SET transaction_timeout"))
            shutil.copyfileobj(dump, script)
            if reader.wait() == 0:
                script.write(";\n".join([*after, ""]).encode())
        if psql.wait() or reader.wait():
            errors.seek(0)
            raise BackupError(f"The backup was not restored: {errors.read().decode().strip()}")
