"""How a mail reaches a person: queued with what it tells of, and written for its reader."""

import re

import pytest
from django.conf import settings as django_settings
from django.core import mail
from django.db import transaction
from django.utils import timezone, translation

from users.mail import (
    ActivationEmail,
    AlreadyRegisteredEmail,
    EmailChangeEmail,
    EmailChangeNotice,
    PasswordChangedEmail,
    PasswordResetEmail,
)
from users.models import OutgoingEmail, User
from users.tests.factories import make_user, make_waiting_mail
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
        make_waiting_mail()
        assert mail.outbox == []
    assert [message.to for message in mail.outbox] == [["bob@example.com"]]


def test_mail_of_a_transaction_that_is_rolled_back_never_goes_out(django_capture_on_commit_callbacks, mailbox):
    """F9"""
    with django_capture_on_commit_callbacks(execute=True), pytest.raises(RuntimeError), transaction.atomic():  # noqa: PT012
        make_waiting_mail()
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


def test_a_name_greets_nobody_who_has_not_proved_their_address(mailbox):
    """R21: whoever signs up with another's address would have us write to them what he likes."""
    ActivationEmail(make_user(username="www.evil.example")).queue()
    [message] = mailbox()
    assert "evil" not in message.body + message.alternatives[0].content


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize(
    "url", ["https://refer.example.com/account/activate/MQ/W10:1:x/", """https://x.io/?a="b"&c='d'"""]
)
def test_a_mail_that_is_rendered_once_is_what_its_template_makes_of_each(settings, language, url):
    """R21, B15"""
    one, other = (ActivationEmail(make_user(language=language)) for _sign_up in range(2))
    for message, render in ((one, one.render), (other, super(ActivationEmail, other).render)):
        message.context["url"] = url
        with translation.override(language):
            render()
    assert (one.subject, one.body, one.alternatives) == (other.subject, other.body, other.alternatives)
