"""What is done with a mail that waits: who tries it, when, how often, and what is noted of it."""

import time
from datetime import timedelta
from smtplib import SMTPAuthenticationError, SMTPDataError, SMTPRecipientsRefused, SMTPSenderRefused

import pytest
from anymail.exceptions import AnymailAPIError, AnymailRecipientsRefused
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings as django_settings
from django.core import mail
from django.core.mail.backends import locmem
from django.utils import timezone
from kombu.exceptions import OperationalError

from config import celery_app
from users import tasks
from users.deadlines import at_most
from users.mail import (
    queue_for_whoever_has,
    send_password_reset,
)
from users.models import MailRequest, OutgoingEmail
from users.retention import delete_what_is_over
from users.tasks import LONGEST_PAUSE, MOST_REFUSALS, MOST_TRIES, RUN_FOR, SEND_FOR, TRY_FOR, deliver_waiting_mail
from users.tests.factories import PASSWORD, make_user, make_waiting_mail

pytestmark = pytest.mark.django_db


class FailingBackend(locmem.EmailBackend):
    """A mail server that takes nothing for example.com and says too much about it."""

    def send_messages(self, messages):
        if "example.com" in messages[0].to[0]:
            raise ConnectionRefusedError("bob@example.com: wrong password hunter2")
        return super().send_messages(messages)


@pytest.fixture
def failing_server(settings) -> None:
    settings.EMAIL_DELIVERY_BACKEND = f"{__name__}.FailingBackend"


def test_a_delivered_mail_leaves_no_text_behind():
    """P2: it may have held a link that lets someone in."""
    row = make_waiting_mail(last_error="TimeoutError")
    assert deliver_waiting_mail() == 1
    row.refresh_from_db()
    assert (row.message, row.last_error, row.tries, row.failed_at) == ({}, "", 1, None)
    assert timezone.now() - row.sent_at < timedelta(minutes=1)
    assert deliver_waiting_mail() == 0
    assert len(mail.outbox) == 1


def test_a_mail_that_cannot_be_delivered_waits_longer_each_time_until_it_is_given_up(failing_server):
    """F8"""
    row = make_waiting_mail()
    pauses = []
    for _try in range(MOST_TRIES):
        assert row.failed_at is None
        OutgoingEmail.objects.update(next_try_at=timezone.now())
        before = timezone.now()
        assert deliver_waiting_mail() == 0
        row.refresh_from_db()
        pauses.append(row.next_try_at - before)
        assert deliver_waiting_mail() == 0  # not before its time
    minutes = [1, 2, 4, 8, 16, 32, 64, 128, 256] + [LONGEST_PAUSE // timedelta(minutes=1)] * 11
    for pause, about in zip(pauses, minutes, strict=True):
        assert 0.5 <= pause / timedelta(minutes=about) <= 1.51
    assert (row.tries, row.sent_at, row.last_error) == (MOST_TRIES, None, "ConnectionRefusedError")
    assert row.failed_at
    OutgoingEmail.objects.update(next_try_at=timezone.now())
    assert deliver_waiting_mail() == 0
    assert OutgoingEmail.objects.get().tries == MOST_TRIES


def test_mails_that_failed_together_do_not_come_back_together(failing_server):
    """F8"""
    for number in range(40):
        make_waiting_mail(f"reader{number}@example.com", tries=5)
    deliver_waiting_mail()
    back = sorted(OutgoingEmail.objects.values_list("next_try_at", flat=True))
    assert back[-1] - back[0] > timedelta(minutes=16)  # of a pause of 32 minutes


ADDRESS = "bob@example.com"


@pytest.mark.parametrize(
    ("error", "noted", "tries"),
    [
        (SMTPRecipientsRefused({ADDRESS: (550, b"no bob@example.com")}), "SMTPRecipientsRefused 550", MOST_REFUSALS),
        (SMTPRecipientsRefused({ADDRESS: (450, b"later")}), "SMTPRecipientsRefused 450", MOST_TRIES),
        (SMTPDataError(554, b"spam"), "SMTPDataError 554", MOST_REFUSALS),
        (SMTPDataError(452, b"full"), "SMTPDataError 452", MOST_TRIES),
        (SMTPSenderRefused(550, b"who?", "us@x.io"), "SMTPSenderRefused 550", MOST_TRIES),
        (SMTPAuthenticationError(535, b"hunter2"), "SMTPAuthenticationError 535", MOST_TRIES),
        (AnymailRecipientsRefused(), "AnymailRecipientsRefused", MOST_REFUSALS),
        (AnymailAPIError(status_code=401), "AnymailAPIError 401", MOST_TRIES),
        (KeyError("bob@example.com"), "KeyError", MOST_TRIES),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mail_that_is_wanted_in_no_case_is_given_up_soon_and_any_other_late(monkeypatch, error, noted, tries):
    """F8: RFC 5321, section 4.2.1. Nothing is noted but the kind of error and the number of the answer."""
    row = make_waiting_mail(ADDRESS, tries=tries - 2)

    def fail(*args):
        raise error

    monkeypatch.setattr(locmem.EmailBackend, "send_messages", fail)
    for given_up in (False, True):
        OutgoingEmail.objects.update(next_try_at=timezone.now())
        assert deliver_waiting_mail() == 0
        row.refresh_from_db()
        assert (row.last_error, bool(row.failed_at)) == (noted, given_up)


def test_a_provider_that_cannot_be_reached_is_noted_by_what_was_in_the_way(monkeypatch):
    row = make_waiting_mail()

    def fail(*args):
        raise AnymailAPIError("bob@example.com") from ConnectionRefusedError("bob@example.com")

    monkeypatch.setattr(locmem.EmailBackend, "send_messages", fail)
    deliver_waiting_mail()
    row.refresh_from_db()
    assert row.last_error == "ConnectionRefusedError"


def test_a_mail_has_the_same_message_id_at_every_try(failing_server, settings):
    """F8"""
    message_id = make_waiting_mail().message["extra_headers"]["Message-ID"]
    deliver_waiting_mail()
    settings.EMAIL_DELIVERY_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    OutgoingEmail.objects.update(next_try_at=timezone.now())
    deliver_waiting_mail()
    assert [message.message()["Message-ID"] for message in mail.outbox] == [message_id]
    assert message_id != make_waiting_mail("carol@x.io").message["extra_headers"]["Message-ID"]


def test_a_mail_that_cannot_be_delivered_holds_up_no_other(failing_server):
    """F8"""
    now = timezone.now()
    make_waiting_mail("bob@example.com", next_try_at=now - timedelta(hours=1))
    make_waiting_mail("carol@x.io", next_try_at=now)
    assert deliver_waiting_mail() == 1
    assert [message.to for message in mail.outbox] == [["carol@x.io"]]


def test_a_mail_whose_sender_died_is_taken_up_again_after_a_while():
    """C17, F3"""
    row = make_waiting_mail()
    assert row.claim(until=timezone.now() + TRY_FOR)
    assert deliver_waiting_mail() == 0
    OutgoingEmail.objects.update(next_try_at=timezone.now())
    assert deliver_waiting_mail() == 1
    assert OutgoingEmail.objects.get().tries == 2


def test_a_mail_over_which_every_sender_dies_is_given_up():
    """F3, C17"""
    row = make_waiting_mail(tries=MOST_TRIES)
    assert deliver_waiting_mail() == 0
    row.refresh_from_db()
    assert row.failed_at
    assert mail.outbox == []


@pytest.mark.parametrize("outcome", ["sent", "failed"])
def test_a_sender_whose_time_is_up_writes_nothing_about_a_mail_that_another_has_taken(monkeypatch, outcome):
    """C17"""
    row = make_waiting_mail()
    until = timezone.now() + TRY_FOR

    def take_long(backend, messages):
        OutgoingEmail.objects.update(next_try_at=timezone.now())  # as time will have it
        assert OutgoingEmail.objects.get().claim(until=until)
        if outcome == "failed":
            raise TimeoutError

    monkeypatch.setattr(locmem.EmailBackend, "send_messages", take_long)
    deliver_waiting_mail()
    row.refresh_from_db()
    assert (row.tries, row.next_try_at, row.sent_at, row.failed_at, row.last_error) == (2, until, None, None, "")
    assert row.message


def test_a_sender_whose_time_is_up_does_not_undo_that_another_has_sent_the_mail(monkeypatch):
    """C17"""
    row = make_waiting_mail()

    def take_long(backend, messages):
        OutgoingEmail.objects.update(sent_at=timezone.now(), message={})
        raise TimeoutError

    monkeypatch.setattr(locmem.EmailBackend, "send_messages", take_long)
    deliver_waiting_mail()
    row.refresh_from_db()
    assert (bool(row.sent_at), row.last_error) == (True, "")


def test_no_time_limit_is_in_the_way_of_another():
    """C17: a claim outlasts a try, a task its longest run, and the broker hands out no task that still runs."""
    longest_try = SEND_FOR + 60  # the most that EMAIL_TIMEOUT may be
    assert longest_try < TRY_FOR.total_seconds()
    assert RUN_FOR + longest_try < django_settings.CELERY_TASK_SOFT_TIME_LIMIT < django_settings.CELERY_TASK_TIME_LIMIT
    visible_again = django_settings.CELERY_BROKER_TRANSPORT_OPTIONS["visibility_timeout"]
    assert visible_again > django_settings.CELERY_TASK_TIME_LIMIT + 60


@pytest.fixture
def handed_over(settings, monkeypatch) -> list[str]:
    """What was asked of a worker."""
    asked = []
    settings.CELERY_TASK_ALWAYS_EAGER = False
    monkeypatch.setattr(tasks.deliver_waiting_mail, "delay", lambda: asked.append("delivery"))
    return asked


def test_a_run_that_takes_long_leaves_the_rest_to_another(monkeypatch, handed_over):
    for to in ("a@x.io", "b@x.io", "c@x.io"):
        make_waiting_mail(to)
    handed_over.clear()
    times = iter([0, RUN_FOR - 1, RUN_FOR + 1])
    monkeypatch.setattr(tasks, "monotonic", lambda: next(times))
    assert deliver_waiting_mail() == 1
    assert handed_over == ["delivery"]


def test_a_run_that_leaves_nothing_asks_for_no_other(handed_over, failing_server):
    for to in ("a@x.io", "b@x.io", "bob@example.com"):
        make_waiting_mail(to)
    handed_over.clear()
    assert deliver_waiting_mail(most=2) == 2
    assert handed_over == ["delivery"]
    assert deliver_waiting_mail(most=2) == 0
    assert handed_over == ["delivery"]  # the one that failed waits for its time


def test_a_run_that_is_told_to_end_puts_off_what_it_is_at_and_ends(monkeypatch):
    """F3"""
    rows = [make_waiting_mail("a@x.io"), make_waiting_mail("b@x.io")]

    def be_told(*args):
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(locmem.EmailBackend, "send_messages", be_told)
    with pytest.raises(SoftTimeLimitExceeded):
        deliver_waiting_mail()
    for row in rows:
        row.refresh_from_db()
    assert [(row.tries, row.last_error) for row in rows] == [(1, "SoftTimeLimitExceeded"), (0, "")]


def test_what_takes_too_long_is_ended_in_its_own_thread_and_what_ends_in_time_is_left_alone():
    def wait_in_drops():
        with at_most(0.05):
            while True:
                time.sleep(0.01)

    with pytest.raises(TimeoutError):
        wait_in_drops()
    with at_most(1):
        pass
    time.sleep(1.2)


def test_the_oldest_mail_goes_first_and_not_all_at_once():
    now = timezone.now()
    for hours, to in [(1, "b@x.io"), (3, "d@x.io"), (2, "c@x.io")]:
        make_waiting_mail(to, next_try_at=now - timedelta(hours=hours))
    assert deliver_waiting_mail(most=2) == 2
    assert [message.to for message in mail.outbox] == [["d@x.io"], ["c@x.io"]]


def test_while_no_mail_can_be_delivered_nobody_notices(api, failing_server, django_capture_on_commit_callbacks):
    """F8, F9, L10, N4"""
    body = {"email": "ada@example.com", "password": PASSWORD}
    with django_capture_on_commit_callbacks(execute=True):
        assert api.post("/auth/users/", body).status_code == 201
    with django_capture_on_commit_callbacks(execute=True):
        known = api.post("/auth/users/reset_password/", {"email": "ada@example.com"})
        unknown = api.post("/auth/users/reset_password/", {"email": "nobody@example.com"})
    assert (known.status_code, known.content) == (unknown.status_code, unknown.content) == (204, b"")
    deliver_waiting_mail()
    assert [row.last_error for row in OutgoingEmail.objects.all()] == ["ConnectionRefusedError"] * 2
    assert api.post("/auth/jwt/create/", body).status_code == 200


def test_while_the_broker_is_away_mail_waits_in_the_database(
    api, settings, monkeypatch, mailbox, django_capture_on_commit_callbacks
):
    """F7"""
    asked = []

    def unreachable():
        asked.append("delivery")
        raise OperationalError

    settings.CELERY_TASK_ALWAYS_EAGER = False
    monkeypatch.setattr(tasks.deliver_waiting_mail, "delay", unreachable)
    with django_capture_on_commit_callbacks(execute=True):
        assert api.post("/auth/users/", {"email": "ada@example.com", "password": PASSWORD}).status_code == 201
    assert asked == ["delivery"]
    assert [message.to for message in mailbox()] == [["ada@example.com"]]


def test_without_a_broker_nobody_is_told_that_it_has_no_host(caplog):
    tasks.deliver_waiting_mail.delay()
    assert celery_app.connection_for_write().info()["hostname"] == "localhost"
    assert "hostname" not in caplog.text


def broken(email: str) -> None:
    raise RuntimeError


def test_a_request_that_cannot_be_answered_keeps_no_other_mail_waiting(api, mailbox):
    """F8"""
    user = make_user()
    queue_for_whoever_has("ada@example.com", broken)
    queue_for_whoever_has(user.email, send_password_reset)
    assert [message.to for message in mailbox()] == [[user.email]]
    assert MailRequest.objects.get().email == "ada@example.com"
    MailRequest.objects.update(created_at=timezone.now() - timedelta(days=2))
    assert delete_what_is_over()["requests"] == 1


def test_where_no_thread_can_be_started_what_was_stored_is_no_error_and_the_mail_waits(monkeypatch, caplog):
    """F11"""

    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", start)
    tasks.deliver_requested_mail_soon()
    assert "mail waits in the database" in caplog.text
