"""`manage.py housekeeping`: what waits goes out, what is over goes away, what is in use stays."""

from collections.abc import Callable
from datetime import timedelta
from io import StringIO

import pytest
from django.conf import settings as django_settings
from django.contrib.sessions.models import Session
from django.core import mail
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from config import celery_app
from users import audit, retention
from users.models import AuditEvent, OutgoingEmail, TokenFamily, Usage
from users.tasks import delete_what_is_over, deliver_waiting_mail
from users.tests.factories import make_user
from users.tokens import RefreshToken

pytestmark = pytest.mark.django_db

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


def housekeeping() -> str:
    said = StringIO()
    call_command("housekeeping", stdout=said)
    return said.getvalue()


def said(delivered: int = 0, **rows: int) -> str:
    names = ("counts", "logins", "undos", "requests", "sessions", "states", "nonces", "mails", "events", "clicks")
    return f"Delivered {delivered} mails; deleted {', '.join(f'{rows.get(name, 0)} {name}' for name in names)}.\n"


def test_waiting_mail_goes_out():
    mail.send_mail("Hello", "Body", None, ["bob@x.io"])
    assert housekeeping() == said(delivered=1)
    assert [message.to for message in mail.outbox] == [["bob@x.io"]]


def test_what_is_over_goes_and_what_is_in_use_stays(api):
    now = timezone.now()
    user, token = make_user(), None
    ends = [{"expires_at": now - DAY - MINUTE}, {"expires_at": now - DAY + MINUTE}, {}]
    for fields in ends:
        token = RefreshToken.for_user(user)
        TokenFamily.objects.filter(pk=token["fam"]).update(**fields)
    for ends_at in (now - DAY, now, now + MINUTE):
        Usage.objects.create(key=str(ends_at), ends_at=ends_at)
    for expire_date in (now - MINUTE, now + MINUTE, now + DAY):
        Session.objects.create(session_key=str(expire_date), session_data="", expire_date=expire_date)
    assert housekeeping() == said(counts=2, logins=1, sessions=1)
    assert (TokenFamily.objects.count(), Usage.objects.count(), Session.objects.count()) == (2, 1, 2)
    assert api.post("/auth/jwt/refresh/", {"refresh": str(token)}).status_code == 200


def test_a_second_run_finds_nothing_to_do():
    housekeeping()
    assert housekeeping() == said()


def test_a_login_that_was_ended_goes_a_day_after(clock_moved):
    owners = [make_user() for _login in range(3)]
    families = [RefreshToken.for_user(owner)["fam"] for owner in owners]
    assert TokenFamily.end(families[0])
    TokenFamily.rotate(families[1], owners[1].pk, 0, "not the newest", "another")  # which ends it
    clock_moved(DAY - MINUTE)
    assert housekeeping() == said()
    clock_moved(2 * MINUTE)
    assert housekeeping() == said(logins=2)
    assert TokenFamily.objects.get().pk == families[2]


@pytest.fixture
def clock_moved(monkeypatch) -> Callable[[timedelta], None]:
    """Moves the clock on, by so much at each call."""
    now, ahead = timezone.now, timedelta()

    def move(by: timedelta) -> None:
        nonlocal ahead
        ahead += by

    monkeypatch.setattr(timezone, "now", lambda: now() + ahead)
    return move


def queue(to: str, **fields) -> OutgoingEmail:
    mail.send_mail("Hello", "Body", None, [to])
    OutgoingEmail.objects.filter(to=to).update(**fields)
    return OutgoingEmail.objects.get(to=to)


def test_mail_that_is_through_is_kept_as_long_as_asked_and_mail_that_waits_as_long_as_it_takes(clock_moved, settings):
    """P4"""
    settings.MAIL_RETENTION_DAYS = 30
    now = timezone.now()
    queue("sent@x.io", sent_at=now)
    queue("failed@x.io", failed_at=now)
    queue("waits@x.io", next_try_at=now + timedelta(days=60))
    clock_moved(29 * DAY)
    assert housekeeping() == said()
    clock_moved(2 * DAY)
    assert housekeeping() == said(mails=2)
    assert OutgoingEmail.objects.get().to == "waits@x.io"


def test_the_audit_trail_is_kept_as_long_as_asked(clock_moved, settings):
    """P4"""
    settings.AUDIT_RETENTION_DAYS = 365
    audit.record(AuditEvent.Kind.SIGNED_IN, make_user())
    clock_moved(364 * DAY)
    audit.record(AuditEvent.Kind.SIGNED_OUT, make_user())
    AuditEvent.objects.filter(kind="signed_out").update(created_at=timezone.now())
    clock_moved(2 * DAY)
    assert housekeeping() == said(events=1)
    assert AuditEvent.objects.get().kind == "signed_out"


def test_what_is_to_be_kept_for_ever_is(clock_moved, settings):
    """P4"""
    settings.MAIL_RETENTION_DAYS = settings.AUDIT_RETENTION_DAYS = 0
    queue("sent@x.io", sent_at=timezone.now())
    audit.record(AuditEvent.Kind.SIGNED_IN, make_user())
    clock_moved(9999 * DAY)
    assert housekeeping() == said()


def test_much_that_is_over_goes_in_bites(monkeypatch):
    """So that none holds its locks for long; the last one asked for finds nothing."""
    monkeypatch.setattr(retention, "BITE", 10)
    now = timezone.now()
    Usage.objects.bulk_create([Usage(key=str(number), ends_at=now - number * MINUTE) for number in range(25)])
    Usage.objects.create(key="in use", ends_at=now + MINUTE)
    with CaptureQueriesContext(connection) as seen:
        assert retention.delete_what_is_over()["counts"] == 25
    deletes = [query for query in seen if query["sql"].startswith('DELETE FROM "users_usage"')]
    assert len(deletes) == 3
    assert Usage.objects.get().key == "in use"


@pytest.mark.postgres
def test_what_is_over_is_found_by_an_index(settings):
    """At 10^6 rows: each bite reads the rows that it deletes and hardly any other."""
    bites = []
    with CaptureQueriesContext(connection) as seen:
        retention.delete_what_is_over()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")  # small tables are read as a whole
        cursor.execute("SET LOCAL enable_bitmapscan = off")
        for query in seen:
            if " LIMIT " in query["sql"]:
                cursor.execute(f"EXPLAIN {query['sql']}")
                bites.append("\n".join(row[0] for row in cursor.fetchall()))
    by_index = {table for table in TABLES for plan in bites if f" on {table} " in plan and "Sort" not in plan}
    assert by_index == TABLES


TABLES = {
    "users_usage",
    "users_tokenfamily",
    "users_pendingundo",
    "django_session",
    "users_outgoingemail",
    "users_auditevent",
}


def test_beat_asks_for_tasks_that_there_are():
    tasks = {entry["task"] for entry in django_settings.CELERY_BEAT_SCHEDULE.values()}
    assert tasks == {deliver_waiting_mail.name, delete_what_is_over.name}
    assert not tasks - celery_app.tasks.keys()
