"""Mail by a provider of django-anymail instead of SMTP: a real server on this machine plays it."""

from urllib.parse import unquote

import pytest
from django.conf import settings as django_settings
from django.test import override_settings

from config.tests.live import free_port
from users.mail import ActivationEmail
from users.models import OutgoingEmail
from users.tasks import MOST_REFUSALS, MOST_TRIES, deliver_waiting_mail
from users.tests.factories import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def by_postmark(settings, mail_provider) -> None:
    settings.EMAIL_DELIVERY_BACKEND = "anymail.backends.postmark.EmailBackend"
    settings.ANYMAIL = {
        "POSTMARK_SERVER_TOKEN": "0123456789",
        "POSTMARK_API_URL": mail_provider.url,
        "REQUESTS_TIMEOUT": 30,
    }


def test_a_mail_goes_to_the_provider_as_it_is(mail_provider, mail_of_sign_up, try_now):
    row = mail_of_sign_up()
    stored = dict(row.message)
    assert try_now(row).sent_at
    assert (row.message, row.last_error) == ({}, "")
    [brought] = mail_provider.brought
    assert mail_provider.tokens == ["0123456789"]
    assert (brought["To"], brought["Subject"]) == ("ada@example.com", stored["subject"])
    assert (brought["TextBody"], brought["HtmlBody"]) == (stored["body"], stored["alternatives"][0][0])
    assert brought["Headers"] == [{"Name": "Message-ID", "Value": stored["extra_headers"]["Message-ID"]}]


FAULTS = {
    "wrong token": (
        lambda provider: provider.answer(401, ErrorCode=10, Message="bad token"),
        "AnymailRequestsAPIError 401",
    ),
    "too many": (
        lambda provider: provider.answer(429, Message="slow down, ada@example.com"),
        "AnymailRequestsAPIError 429",
    ),
    "broken": (lambda provider: provider.answer(500), "AnymailRequestsAPIError 500"),
    "hangs": (lambda provider: provider.awake.clear(), "ReadTimeout"),
    "says nonsense": (lambda provider: provider.answer(200, hello="ada@example.com"), "KeyError 200"),
}


@pytest.mark.parametrize(("fail", "noted"), FAULTS.values(), ids=FAULTS.keys())
def test_a_mail_goes_out_once_the_provider_is_well_again(
    settings, mail_provider, mail_of_sign_up, try_now, fail, noted
):
    """F8, F9"""
    fail(mail_provider)
    timeout = 0.3 if noted == "ReadTimeout" else 30
    with override_settings(ANYMAIL=settings.ANYMAIL | {"REQUESTS_TIMEOUT": timeout}):
        row = try_now(mail_of_sign_up())
    assert (row.tries, row.sent_at, row.failed_at) == (1, None, None)
    assert row.last_error == noted
    mail_provider.take_mail()
    assert try_now(row).sent_at
    assert [mail["To"] for mail in mail_provider.brought] == ["ada@example.com"] * 2


def test_a_provider_that_is_away_is_tried_for_days(settings, mail_of_sign_up, try_now):
    """F8"""
    settings.ANYMAIL = settings.ANYMAIL | {"POSTMARK_API_URL": f"http://127.0.0.1:{free_port()}/"}
    row = mail_of_sign_up()
    OutgoingEmail.objects.update(tries=MOST_TRIES - 2)
    assert (try_now(row).failed_at, row.last_error) == (None, "ConnectionError")
    assert try_now(row).failed_at


def test_a_mail_that_the_provider_wants_in_no_case_is_given_up_and_kept(mail_provider, mail_of_sign_up, try_now):
    """F8"""
    message = (
        "Found inactive addresses: ada@example.com. Inactive recipients are ones that have generated a hard bounce."
    )
    mail_provider.answer(422, ErrorCode=406, Message=message)
    row = mail_of_sign_up()
    for _try in range(MOST_REFUSALS):
        assert not row.failed_at
        try_now(row)
    assert row.failed_at
    assert row.message
    assert row.last_error == "AnymailRecipientsRefused"


@pytest.mark.filterwarnings("ignore:django-anymail has dropped official support for SendGrid")
@pytest.mark.parametrize(
    "name", sorted(django_settings.EMAIL_PROVIDERS - {"amazon_ses"})
)  # which has a client of its own, boto3
def test_every_provider_is_handed_our_mails_as_they_are(settings, mail_provider, name):
    """None finds something in them that it cannot send. What it answers here is not its own."""
    keys = {"API_KEY": "k", "SECRET_KEY": "s", "API_TOKEN": "t", "SERVER_TOKEN": "t", "PROJECT_ID": "p"}
    keys |= {"SENDER_DOMAIN": "x.io", "API_URL": mail_provider.url}
    settings.ANYMAIL = {f"{name.upper()}_{key}": value for key, value in keys.items()}
    settings.EMAIL_DELIVERY_BACKEND = f"anymail.backends.{name}.EmailBackend"
    ActivationEmail(make_user(email="ada@example.com")).queue()
    deliver_waiting_mail()
    [brought] = mail_provider.brought
    assert "ada@example.com" in unquote(str(brought))
    assert "Unsupported" not in OutgoingEmail.objects.get().last_error
