"""Mail servers that fail, each in its way: a mail is tried again, kept, and never lost."""

import time
from collections.abc import Callable

import pytest
from django.test import override_settings

from config.tests.live import free_port
from users import tasks
from users.models import OutgoingEmail
from users.tasks import MOST_REFUSALS, MOST_TRIES
from users.tests.servers import MailServer

pytestmark = pytest.mark.django_db

ADDRESS = "ada@example.com"


@pytest.fixture(autouse=True)
def by_smtp(settings, mail_server) -> None:
    settings.EMAIL_DELIVERY_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = mail_server.server_address
    settings.EMAIL_TIMEOUT = 30


def hang(server: MailServer) -> None:
    server.awake.clear()


def answer(verb: str, with_: str | None) -> Callable[[MailServer], None]:
    return lambda server: server.answers.update({verb: with_})


FAULTS = {
    "hangs": (hang, "TimeoutError"),
    "hangs up after MAIL": (answer("mail", None), "SMTPServerDisconnected"),
    "hangs up after DATA": (answer("data.", None), "SMTPServerDisconnected"),
    "4xx to MAIL": (answer("mail", "451 later"), "SMTPSenderRefused 451"),
    "5xx to MAIL": (answer("mail", "550 not you"), "SMTPSenderRefused 550"),
    "4xx to RCPT": (answer("rcpt", "450 later"), "SMTPRecipientsRefused 450"),
    "421 to RCPT": (answer("rcpt", "421 closing"), "SMTPRecipientsRefused 421"),
    "4xx to DATA": (answer("data", "451 later"), "SMTPDataError 451"),
    "4xx after DATA": (answer("data.", "452 full"), "SMTPDataError 452"),
    "nonsense": (answer("rcpt", "hello"), "SMTPRecipientsRefused -1"),
}
REFUSALS = {
    "5xx to RCPT": (answer("rcpt", "550 nobody ada@example.com"), "SMTPRecipientsRefused 550"),
    "5xx to DATA": (answer("data", "554 spam"), "SMTPDataError 554"),
    "5xx after DATA": (answer("data.", "552 too much"), "SMTPDataError 552"),
}


def each(faults: dict) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("fail", "noted"), faults.values(), ids=faults.keys())


@each(FAULTS | REFUSALS)
def test_a_mail_goes_out_once_the_server_is_well_again(mail_server, mail_of_sign_up, try_now, fail, noted):
    """F8, F9"""
    fail(mail_server)
    with override_settings(EMAIL_TIMEOUT=0.3 if fail is hang else 30):
        row = try_now(mail_of_sign_up())
    assert (row.tries, row.sent_at, row.failed_at) == (1, None, None)
    assert row.last_error.startswith(noted) or (noted == "TimeoutError" and row.last_error == "SMTPServerDisconnected")
    mail_server.answers.clear()
    mail_server.awake.set()
    assert try_now(row).sent_at
    assert mail_server.brought[-1] == ADDRESS
    assert len(set(mail_server.message_ids)) == 1  # a mailbox can tell that two are one


@each(REFUSALS)
def test_a_mail_that_the_server_wants_in_no_case_is_given_up_and_kept(
    mail_server, mail_of_sign_up, try_now, fail, noted
):
    """F8"""
    fail(mail_server)
    row = mail_of_sign_up()
    for _try in range(MOST_REFUSALS):
        assert not row.failed_at
        try_now(row)
    assert row.failed_at
    assert (row.tries, row.last_error) == (MOST_REFUSALS, noted)
    assert row.message  # so that it can be sent again
    try_now(row)
    assert row.tries == MOST_REFUSALS


def test_a_server_that_is_away_is_tried_for_days(settings, mail_of_sign_up, try_now):
    """F8"""
    settings.EMAIL_PORT = free_port()
    row = mail_of_sign_up()
    OutgoingEmail.objects.update(tries=MOST_TRIES - 2)
    assert (try_now(row).failed_at, row.last_error) == (None, "ConnectionRefusedError")
    assert try_now(row).failed_at


def test_a_server_that_drips_is_left_after_a_while(mail_server, monkeypatch, mail_of_sign_up, try_now):
    """F8, C17: else it would outlast the claim, and another sender come along."""
    mail_server.drips = True
    begun = time.monotonic()
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(tasks, "SEND_FOR", 0.6)
        row = try_now(mail_of_sign_up())
    assert time.monotonic() - begun > 0.5
    assert row.tries == 1
    assert row.last_error in ("TimeoutError", "SMTPServerDisconnected")  # as smtplib was reading, or was not just then
    mail_server.drips = False
    assert try_now(row).sent_at
