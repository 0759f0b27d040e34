"""`manage.py backup` and `restore`: all of it or nothing, and what came after a backup is no more."""

import os
import stat
import subprocess
from importlib import import_module
from io import StringIO
from pathlib import Path

import pytest
from django.apps import apps
from django.contrib.sessions.models import Session
from django.core import mail
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from referrals.models import Referral, ReferralCode
from referrals.tests.factories import make_referral
from users import backup
from users.models import AuditEvent, MailRequest, OutgoingEmail, TokenFamily, User
from users.tests.factories import make_user
from users.tokens import RefreshToken

pytestmark = pytest.mark.django_db(transaction=True)
make_groups = import_module("referrals.migrations.0003_groups_of_staff").make_groups


def back_up(file: Path) -> str:
    said = StringIO()
    call_command("backup", str(file), stdout=said)
    return said.getvalue()


def restore(file: Path, *options: str) -> str:
    said = StringIO()
    call_command("restore", str(file), *options, stdout=said)
    return said.getvalue()


def kept() -> list:
    """All rows that restoring does not touch."""
    users = User.objects.order_by("id").values_list("id", "email", "username", "password", "registered_at")
    others = [model.objects.order_by("pk").values_list() for model in (Referral, ReferralCode, AuditEvent)]
    return [list(rows) for rows in (users, *others)]


def test_what_was_backed_up_comes_back(tmp_path):
    """F15"""
    make_referral()
    before = kept()
    assert str(tmp_path / "backup") in back_up(tmp_path / "backup")
    make_referral()
    User.objects.update(email=None)
    restore(tmp_path / "backup", "--force")
    assert kept() == before
    assert make_referral().referred.pk > 1_000_000  # a number that stood for somebody else is not given again


def test_a_backup_is_for_its_owner_and_replaces_no_other(tmp_path):
    back_up(tmp_path / "backup")
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o600
    content = (tmp_path / "backup").read_bytes()
    with pytest.raises(CommandError, match="is there already"):
        back_up(tmp_path / "backup")
    assert (tmp_path / "backup").read_bytes() == content
    assert os.listdir(tmp_path) == ["backup"]


def test_a_backup_goes_to_a_folder_that_is_there(tmp_path):
    with pytest.raises(CommandError, match="There is no folder"):
        back_up(tmp_path / "nowhere" / "backup")


def test_a_database_that_holds_data_is_replaced_only_by_force(tmp_path):
    make_groups(apps, None)  # of which the tests before may have left none
    back_up(tmp_path / "backup")
    restore(tmp_path / "backup")  # what `migrate` makes is no data
    user = make_user()
    with pytest.raises(CommandError, match=r"holds data, in users_user\. With --force"):
        restore(tmp_path / "backup")
    assert User.objects.get() == user
    restore(tmp_path / "backup", "--force")
    assert not User.objects.exists()


def test_who_was_signed_in_signs_in_anew(tmp_path, api):
    """What ended a login after the backup ends it still."""
    user = make_user()
    token = RefreshToken.for_user(user)
    Session.objects.create(session_key="of the admin", session_data="", expire_date=timezone.now())
    back_up(tmp_path / "backup")
    restore(tmp_path / "backup", "--force")
    assert not Session.objects.exists()
    assert not TokenFamily.objects.exists()
    assert api.post("/auth/jwt/refresh/", {"refresh": str(token)}).status_code == 401
    assert api.get("/auth/users/me/", HTTP_AUTHORIZATION=f"Bearer {token.access_token}").status_code == 401
    assert RefreshToken.for_user(user)["fam"] > 1_000_000


def test_mail_that_waited_is_kept_back_and_none_is_sent_twice(tmp_path, mailbox, monkeypatch):
    monkeypatch.setattr("users.mail.deliver_waiting_mail_soon", lambda: None)
    mail.send_mail("Sent", "Body", None, ["bob@x.io"])
    mailbox()
    mail.send_mail("Waiting", "Body", None, ["bob@x.io"])
    MailRequest.objects.create(compose="users.mail.send_password_reset", email="bob@x.io")
    back_up(tmp_path / "backup")
    mailbox()
    assert "1 mails that waited" in restore(tmp_path / "backup", "--force")
    assert len(mailbox()) == 2
    waited = OutgoingEmail.objects.get(subject="Waiting")
    assert (waited.last_error, waited.failed_at is None, waited.message["body"]) == ("Restored", False, "Body")
    assert OutgoingEmail.objects.get(subject="Sent").failed_at is None
    assert not MailRequest.objects.exists()


@pytest.mark.parametrize("damage", ["cut short", "other bytes", "something else"])
def test_of_a_damaged_backup_nothing_is_restored(tmp_path, damage):
    User.objects.bulk_create([User(username=f"reader{number}") for number in range(3000)])  # something to cut
    back_up(tmp_path / "backup")
    content = (tmp_path / "backup").read_bytes()
    half = len(content) // 2
    damaged = {"cut short": content[:half], "other bytes": content[:half] + os.urandom(half), "something else": b"x"}
    (tmp_path / "backup").write_bytes(damaged[damage])
    user = make_user()
    with pytest.raises(CommandError, match=r"damaged|not restored"):
        restore(tmp_path / "backup", "--force")
    assert User.objects.filter(pk=user.pk).exists()
    with pytest.raises(CommandError, match="There is no file"):
        restore(tmp_path / "another")


def test_a_backup_of_newer_code_is_refused_and_one_of_older_code_is_migrated(tmp_path):
    newer = MigrationRecorder.Migration.objects.create(app="users", name="9999_of_tomorrow")
    back_up(tmp_path / "of tomorrow")
    newer.delete()
    with pytest.raises(CommandError, match=r"newer version, with users\.9999_of_tomorrow"):
        restore(tmp_path / "of tomorrow", "--force")
    call_command("migrate", "social_django", "zero", verbosity=0)
    try:
        back_up(tmp_path / "of yesterday")
    finally:
        call_command("migrate", verbosity=0)
    restore(tmp_path / "of yesterday", "--force")
    assert "social_auth_usersocialauth" in connection.introspection.table_names()


def test_another_file_of_the_kind_is_no_backup(tmp_path):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE django_migrations RENAME TO something_else")
        try:
            back_up(tmp_path / "backup")
        finally:
            cursor.execute("ALTER TABLE something_else RENAME TO django_migrations")
    with pytest.raises(CommandError, match="no backup of this service"):
        restore(tmp_path / "backup", "--force")


@pytest.mark.postgres
def test_it_is_said_which_program_is_missing_or_too_old(tmp_path, monkeypatch):
    old = tmp_path / "pg_dump"
    old.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.1'\n")
    monkeypatch.setattr("users.backup.BESIDE", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    needed = rf"pg_dump {connection.get_database_version()[0]} or newer is needed"
    with pytest.raises(CommandError, match=rf"{needed}.* there is none"):
        back_up(tmp_path / "backup")
    old.chmod(0o700)
    with pytest.raises(CommandError, match=rf"{needed}.* there is only 9"):
        back_up(tmp_path / "backup")
    assert os.listdir(tmp_path) == ["pg_dump"]


@pytest.mark.postgres
def test_a_dump_of_newer_programs_is_restored_to_an_older_server(tmp_path, monkeypatch):
    """They write a setting that a server before 17 does not know, and psql stops at what the server refuses."""
    program = {name: backup._program(name) for name in ("pg_restore", "psql")}
    heard, spy = tmp_path / "heard", tmp_path / "psql"
    spy.write_text(f"""#!/bin/sh
[ "$1" = --version ] && exec {program["psql"]} --version
tee {heard} | {program["psql"]} "$@"
""")
    spy.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    make_referral()
    before = kept()
    back_up(tmp_path / "backup")
    restore(tmp_path / "backup", "--force")
    assert kept() == before
    command = [program["pg_restore"], "--no-owner", "--no-privileges", "--file=-", tmp_path / "backup"]
    dump = subprocess.run(command, capture_output=True, check=True).stdout.splitlines()
    left_out = {line for line in dump if not line.startswith(b"\\")} - {*heard.read_bytes().splitlines()}
    assert left_out == {b"SET transaction_timeout = 0;"}


@pytest.mark.postgres
def test_the_password_is_no_argument_that_others_could_see(monkeypatch):
    """S3"""
    monkeypatch.setitem(connection.settings_dict, "PASSWORD", "hunter2 hunter2")
    arguments, environment = backup._command("pg_dump")
    assert environment["PGPASSWORD"] == "hunter2 hunter2"
    assert not [argument for argument in arguments if "hunter2" in argument]
