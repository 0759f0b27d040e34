"""How a mail reaches a person: queued with what it tells of, written for its reader, delivered once."""

import re
from datetime import timedelta

import pytest
from django.conf import settings as django_settings
from django.core import mail
from django.core.mail.backends import locmem
from django.db import transaction
from django.utils import timezone, translation
from kombu.exceptions import OperationalError

from users import tasks
from users.mail import (
    ActivationEmail,
    AlreadyRegisteredEmail,
    EmailChangeEmail,
    EmailChangeNotice,
    PasswordChangedEmail,
    PasswordResetEmail,
    queue_for_whoever_has,
    send_password_reset,
)
from users.models import MailRequest, OutgoingEmail, User
from users.retention import delete_what_is_over
from users.tasks import LONGEST_PAUSE, MOST_TRIES, TRY_FOR, deliver_waiting_mail
from users.tests.factories import PASSWORD, make_user
from users.tokens import EMAIL_CHANGE

pytestmark = pytest.mark.django_db

MAILS = [
    ActivationEmail,
    PasswordResetEmail,
    PasswordChangedEmail,
    lambda user: EmailChangeEmail(user, EMAIL_CHANGE.make(user, "new@example.com")),
    EmailChangeNotice,
    AlreadyRegisteredEmail,
]
each_mail = pytest.mark.parametrize(
    "make", MAILS, ids=["activation", "reset", "changed", "move", "notice", "registered"]
)


class FailingBackend(locmem.EmailBackend):
    """A mail server that takes nothing for example.com and says too much about it."""

    def send_messages(self, messages):
        if "example.com" in messages[0].to[0]:
            raise ConnectionRefusedError("bob@example.com: wrong password hunter2")
        return super().send_messages(messages)


@pytest.fixture
def failing_server(settings) -> None:
    settings.EMAIL_DELIVERY_BACKEND = f"{__name__}.FailingBackend"


def queue(to: str = "bob@example.com", **fields) -> OutgoingEmail:
    mail.EmailMessage("Hello", "Body", "from@x.io", [to]).send()
    OutgoingEmail.objects.filter(to=to).update(**fields)
    return OutgoingEmail.objects.get(to=to)


def test_what_django_sends_comes_out_of_the_queue_as_it_went_in(mailbox):
    sent = mail.EmailMultiAlternatives(
        "Прив\u00e9t 🐎",
        "Body",
        "Ann <from@x.io>",
        ["Bob <bob@x.io>", "carol@x.io"],
        bcc=["dan@x.io"],
        cc=["eve@x.io"],
        reply_to=["fay@x.io"],
        headers={"X-Kind": "test", "Message-ID": "<1@x.io>"},
        alternatives=[("<p>Body</p>", "text/html")],
    )
    assert sent.send() == 1
    assert mail.send_mail("Plain", "Body", None, ["bob@x.io"], html_message="<p>Hi</p>") == 1
    came, plain = mailbox()
    for name in ("subject", "body", "from_email", "to", "cc", "bcc", "reply_to", "extra_headers", "alternatives"):
        assert getattr(came, name) == getattr(sent, name)
    assert (plain.from_email, plain.alternatives[0].content) == (django_settings.DEFAULT_FROM_EMAIL, "<p>Hi</p>")


@pytest.mark.parametrize("spoil", [lambda m: m.attach("a.txt", "x"), lambda m: setattr(m, "content_subtype", "html")])
def test_what_the_queue_does_not_keep_it_does_not_take(spoil):
    message = mail.EmailMessage("Hello", "Body", to=["bob@x.io"])
    spoil(message)
    with pytest.raises(ValueError, match="carry no attachments"):
        message.send()
    assert not OutgoingEmail.objects.exists()


def test_mail_of_a_transaction_goes_out_when_it_is_committed(django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        queue()
        assert mail.outbox == []
    assert [message.to for message in mail.outbox] == [["bob@example.com"]]


def test_mail_of_a_transaction_that_is_rolled_back_never_goes_out(django_capture_on_commit_callbacks, mailbox):
    """F9"""
    with django_capture_on_commit_callbacks(execute=True), pytest.raises(RuntimeError), transaction.atomic():  # noqa: PT012
        queue()
        raise RuntimeError
    assert mailbox() == []
    assert not OutgoingEmail.objects.exists()


@each_mail
def test_every_mail_is_text_and_html_and_renders_what_people_chose_inert(mailbox, make):
    """R21, B15"""
    user = make_user()
    user.username, user.email_verified_at = '<b>&"x', timezone.now()
    make(user).queue()
    (message,) = mailbox()
    (html,) = (alternative.content for alternative in message.alternatives)
    assert '<b>&"x' in message.body
    assert "&lt;b&gt;&amp;&quot;x" in html
    assert "<b>" not in html
    assert message.alternatives[0].mimetype == "text/html"
    for part in (message.subject, message.body, html):
        assert part.strip()
        assert not re.search(r"{[{%]|[%}]}|None", part)
        assert all(url.startswith(django_settings.PUBLIC_URL) for url in re.findall(r"https?://[^\s\"'<]+", part))
    assert "\n" not in message.subject


@each_mail
def test_every_mail_goes_to_its_reader_and_has_no_headers_but_ours(mailbox, make):
    """R16, R20"""
    user = make_user(email="bob@example.com")
    user.username = "x\r\nBcc: eve@x.io\u2028,eve@x.io"
    make(user).queue()
    (message,) = mailbox()
    assert message.recipients() == ["bob@example.com"]
    headers = {"Content-Type", "MIME-Version", "Subject", "From", "To", "Date", "Message-ID"}
    assert set(message.message().keys()) == headers


@pytest.mark.parametrize("reader", ["en", "ru"])
@pytest.mark.parametrize("asked_by", ["en", "ru"])
def test_a_mail_is_written_in_the_language_of_its_reader(mailbox, reader, asked_by):
    written_in = []

    class Watched(PasswordChangedEmail):
        def render(self):
            written_in.append(translation.get_language())
            super().render()

    with translation.override(asked_by):
        Watched(make_user(language=reader)).queue()
        assert translation.get_language() == asked_by
    assert written_in == [reader]
    assert f'<html lang="{reader}">' in mailbox()[0].alternatives[0].content


def test_an_account_without_an_address_gets_no_mail():
    PasswordChangedEmail(User(email=None, username="closed-x")).queue()
    assert not OutgoingEmail.objects.exists()


@pytest.mark.parametrize(
    "fields", [{"subject": "Hi\r\nBcc: eve@x.io"}, {"to": ["bob@x.io\nBcc: eve@x.io"]}, {"headers": {"X": "1\nBcc: 2"}}]
)
def test_a_line_break_in_a_header_keeps_the_mail_from_going_out(mailbox, fields):
    """R20"""
    mail.EmailMessage(**{"subject": "Hi", "to": ["bob@x.io"]} | fields).send()
    assert mailbox() == []
    assert OutgoingEmail.objects.get().last_error in ("BadHeaderError", "ValueError")


def test_a_delivered_mail_leaves_no_text_behind():
    """P2: it may have held a link that lets someone in."""
    row = queue(last_error="TimeoutError")
    assert deliver_waiting_mail() == 1
    row.refresh_from_db()
    assert (row.message, row.last_error, row.tries, row.failed_at) == ({}, "", 1, None)
    assert timezone.now() - row.sent_at < timedelta(minutes=1)
    assert deliver_waiting_mail() == 0
    assert len(mail.outbox) == 1


def test_a_mail_that_cannot_be_delivered_waits_longer_each_time_until_it_is_given_up(failing_server):
    """F8"""
    row = queue()
    pauses = []
    for _try in range(MOST_TRIES):
        assert row.failed_at is None
        OutgoingEmail.objects.update(next_try_at=timezone.now())
        before = timezone.now()
        assert deliver_waiting_mail() == 0
        row.refresh_from_db()
        pauses.append(row.next_try_at - before)
        assert deliver_waiting_mail() == 0  # not before its time
    minutes = [round(pause.total_seconds() / 60) for pause in pauses]
    assert minutes == [1, 2, 4, 8, 16, 32, 64, 128, 256] + [LONGEST_PAUSE // timedelta(minutes=1)] * 11
    assert (row.tries, row.sent_at, row.last_error) == (MOST_TRIES, None, "ConnectionRefusedError")
    assert row.failed_at
    OutgoingEmail.objects.update(next_try_at=timezone.now())
    assert deliver_waiting_mail() == 0
    assert OutgoingEmail.objects.get().tries == MOST_TRIES


def test_a_mail_has_the_same_message_id_at_every_try(failing_server, settings):
    """F8"""
    message_id = queue().message["extra_headers"]["Message-ID"]
    deliver_waiting_mail()
    settings.EMAIL_DELIVERY_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    OutgoingEmail.objects.update(next_try_at=timezone.now())
    deliver_waiting_mail()
    assert [message.message()["Message-ID"] for message in mail.outbox] == [message_id]
    assert message_id != queue("carol@x.io").message["extra_headers"]["Message-ID"]


def test_a_mail_that_cannot_be_delivered_holds_up_no_other(failing_server):
    """F8"""
    now = timezone.now()
    queue("bob@example.com", next_try_at=now - timedelta(hours=1))
    queue("carol@x.io", next_try_at=now)
    assert deliver_waiting_mail() == 1
    assert [message.to for message in mail.outbox] == [["carol@x.io"]]


def test_a_mail_whose_sender_died_is_taken_up_again_after_a_while():
    """C17, F3"""
    row = queue()
    assert row.claim(until=timezone.now() + TRY_FOR)
    assert deliver_waiting_mail() == 0
    OutgoingEmail.objects.update(next_try_at=timezone.now())
    assert deliver_waiting_mail() == 1
    assert OutgoingEmail.objects.get().tries == 2


def test_the_oldest_mail_goes_first_and_not_all_at_once():
    now = timezone.now()
    for hours, to in [(1, "b@x.io"), (3, "d@x.io"), (2, "c@x.io")]:
        queue(to, next_try_at=now - timedelta(hours=hours))
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


def test_a_name_greets_nobody_who_has_not_proved_their_address(mailbox):
    """R21: whoever signs up with another's address would have us write to them what he likes."""
    ActivationEmail(make_user(username="www.evil.example")).queue()
    [message] = mailbox()
    assert "evil" not in message.body + message.alternatives[0].content
