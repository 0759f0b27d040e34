"""`manage.py housekeeping`: what waits goes out, what is over goes away, what is in use stays."""

from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.sessions.models import Session
from django.core import mail
from django.core.management import call_command
from django.utils import timezone

from users.models import TokenFamily, Usage
from users.tests.factories import make_user
from users.tokens import RefreshToken

pytestmark = pytest.mark.django_db

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


def housekeeping() -> str:
    said = StringIO()
    call_command("housekeeping", stdout=said)
    return said.getvalue()


def said(mails: int = 0, **rows: int) -> str:
    names = ("counts", "logins", "undos", "requests", "sessions", "states", "nonces")
    return f"Delivered {mails} mails; deleted {', '.join(f'{rows.get(name, 0)} {name}' for name in names)}.\n"


def test_waiting_mail_goes_out():
    mail.send_mail("Hello", "Body", None, ["bob@x.io"])
    assert housekeeping() == said(mails=1)
    assert [message.to for message in mail.outbox] == [["bob@x.io"]]


def test_what_is_over_goes_and_what_is_in_use_stays(api):
    now = timezone.now()
    user, token = make_user(), None
    ends = [{"expires_at": now - DAY - MINUTE}, {"ended_at": now - DAY - MINUTE}, {"ended_at": now - DAY + MINUTE}, {}]
    for fields in ends:
        token = RefreshToken.for_user(user)
        TokenFamily.objects.filter(pk=token["fam"]).update(**fields)
    for ends_at in (now - DAY, now, now + MINUTE):
        Usage.objects.create(key=str(ends_at), ends_at=ends_at)
    for expire_date in (now - MINUTE, now + MINUTE, now + DAY):
        Session.objects.create(session_key=str(expire_date), session_data="", expire_date=expire_date)
    assert housekeeping() == said(counts=2, logins=2, sessions=1)
    assert (TokenFamily.objects.count(), Usage.objects.count(), Session.objects.count()) == (2, 1, 2)
    assert api.post("/auth/jwt/refresh/", {"refresh": str(token)}).status_code == 200


def test_a_second_run_finds_nothing_to_do():
    housekeeping()
    assert housekeeping() == said()
