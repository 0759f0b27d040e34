"""`/api/referral-code/`: one's own code, somebody else's, and the check that anyone can make."""

from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest
from django.utils import timezone

from referrals import services
from referrals.models import ReferralCode
from referrals.tests.factories import make_code, make_expired_code, tomorrow, utc
from users.models import OutgoingEmail
from users.tests.factories import make_user

pytestmark = pytest.mark.django_db

NOW = utc("2056-02-29T12:00:00")


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def error_of(response) -> tuple[int, str | None, str]:
    body = response.json()
    [error] = body.get("errors") or [{"field": None, "code": body["code"]}]
    return response.status_code, error["field"], error["code"]


# --- creating ---


def test_a_new_code_is_shown_as_the_contract_has_it(as_user):
    user = make_user()
    expires_at = tomorrow()
    response = as_user(user).post("/api/referral-code/", {"expiration_date": iso(expires_at)})
    assert response.status_code == 201
    body = response.json()
    assert body.keys() == {"code", "expiration_date", "created_at", "share_url"}
    assert body["expiration_date"] == iso(expires_at)
    assert body["created_at"].endswith("Z")
    assert body["share_url"].endswith(f"/r/{body['code']}")
    assert as_user(user).get("/api/referral-code/").json() == body


def test_a_chosen_code_is_kept_as_it_is_shown(as_user):
    response = as_user(make_user()).post("/api/referral-code/", {"expiration_date": "2030-01-01", "code": "ADA-2030"})
    assert response.json()["code"] == "ADA-2030"


def test_a_second_code_and_a_taken_code_are_conflicts(as_user):
    make_code(wish="ADA-2030")
    client = as_user(make_user())
    wish = {"expiration_date": iso(tomorrow()), "code": "ada-2030"}
    assert error_of(client.post("/api/referral-code/", wish)) == (409, None, "code_taken")
    assert client.post("/api/referral-code/", {"expiration_date": iso(tomorrow())}).status_code == 201
    assert error_of(client.post("/api/referral-code/", wish)) == (409, None, "active_code_exists")


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("2056-03-01T10:00:00Z", utc("2056-03-01T10:00:00")),
        ("2056-03-01T10:00:00+03:00", utc("2056-03-01T07:00:00")),
        ("2056-03-01T10:00-05:30", utc("2056-03-01T15:30:00")),
        ("2056-03-01T10:00:00.5Z", utc("2056-03-01T10:00:00.500000")),
        ("2056-02-29", utc("2056-02-29T23:59:59.999999")),
        ("2056-03-26", utc("2056-03-26T23:59:59.999999")),  # clocks change in much of Europe; UTC knows nothing of it
        ("2056-02-29T12:01:00Z", NOW + timedelta(minutes=1)),
        ("2061-02-28T12:00:00Z", utc("2061-02-28T12:00:00")),
    ],
)
def test_an_expiration_date_is_stored_in_utc_and_a_bare_date_ends_with_its_day(as_user, written, stored):
    """B9"""
    user = make_user()
    with patch("django.utils.timezone.now", return_value=NOW):
        response = as_user(user).post("/api/referral-code/", {"expiration_date": written})
    assert response.status_code == 201, response.content
    assert ReferralCode.objects.get().expires_at == stored
    assert response.json()["expiration_date"] == iso(stored)


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("2056-02-29T12:00:00Z", "too_soon"),
        ("2056-02-29T12:00:59Z", "too_soon"),
        ("2056-02-28", "too_soon"),
        ("2061-02-28T12:00:01Z", "too_late"),
        ("2061-02-28", "too_late"),
        ("9999-12-31", "too_late"),
        ("9999-12-31T23:59:59-12:00", "invalid"),
        ("0001-01-01T00:00:00+14:00", "invalid"),
        ("2057-02-29", "invalid"),
        ("2056-03-01T24:00:00Z", "invalid"),
        ("2056-03-01T10:00:60Z", "invalid"),
        ("2056-03-01T10:00:00+25:00", "invalid"),
        ("2056-03-01T10:00:00", "invalid"),
        ("2056-W10-1", "invalid"),
        ("20560301", "invalid"),
        ("10000-01-01", "invalid"),
        ("٢٠٥٦-٠٣-٠١", "invalid"),
        ("tomorrow", "invalid"),
        ("", "invalid"),
        (2718612800, "invalid"),
        (True, "invalid"),
        (None, "null"),
    ],
)
def test_an_expiration_date_that_cannot_be_is_refused_by_name(as_user, written, code):
    """B9"""
    user = make_user()
    with patch("django.utils.timezone.now", return_value=NOW):
        response = as_user(user).post("/api/referral-code/", {"expiration_date": written})
    assert error_of(response) == (400, "expiration_date", code)
    assert not ReferralCode.objects.exists()


def test_an_expiration_date_is_required(as_user):
    response = as_user(make_user()).post("/api/referral-code/", {})
    assert error_of(response) == (400, "expiration_date", "required")


# --- one's own ---


@pytest.mark.parametrize("call", ["get", "delete"])
def test_without_an_active_code_there_is_none_to_show_or_delete(as_user, call):
    code = make_expired_code()
    response = getattr(as_user(code.owner), call)("/api/referral-code/")
    assert error_of(response) == (404, None, "no_active_code")


def test_a_deleted_code_is_gone_and_makes_room(as_user):
    code = make_code()
    client = as_user(code.owner)
    assert client.delete("/api/referral-code/").status_code == 204
    assert client.get("/api/referral-code/").status_code == 404
    assert client.delete("/api/referral-code/").status_code == 404
    assert client.post("/api/referral-code/", {"expiration_date": iso(tomorrow())}).status_code == 201


# --- somebody else's, by e-mail ---


def test_a_code_is_found_by_the_address_of_its_owner_in_any_spelling(as_user):
    code = make_code(make_user(email="grace@example.com"))
    body = as_user(make_user()).get("/api/referral-code/", {"email": "GRACE@Example.COM"}).json()
    assert body == {"code": code.code, "expiration_date": iso(code.expires_at), "share_url": code.share_url}


def test_ones_own_address_finds_ones_own_code(as_user):
    code = make_code()
    client = as_user(code.owner)
    assert (
        client.get("/api/referral-code/", {"email": code.owner.email}).json()
        == client.get("/api/referral-code/").json()
    )


def test_hidden_unknown_expired_and_blocked_are_told_apart_nowhere(as_user):
    """N8"""
    make_code(make_user(email="hidden@example.com", discoverable_by_email=False))
    make_code(make_user(email="blocked@example.com", is_active=False))
    make_expired_code(make_user(email="expired@example.com"))
    make_user(email="none@example.com")
    client = as_user(make_user())
    answers = set()
    for name in ["hidden", "blocked", "expired", "none", "unknown"]:
        response = client.get("/api/referral-code/", {"email": f"{name}@example.com"})
        assert response.status_code == 404
        answers.add(str(response.json() | {"request_id": ""}))
    assert len(answers) == 1


# --- the check that anyone can make ---


def test_anyone_can_check_a_code_in_any_spelling_even_with_a_stale_token(api):
    """B11"""
    code = make_code(wish="SUMMER-10")
    api.credentials(HTTP_AUTHORIZATION="Bearer stale")
    for typed in ["SUMMER-10", "summer10", "summer-1o", "sum%20mer%2010"]:
        body = api.get(f"/api/referral-code/{typed}/").json()
        assert body == {
            "code": "SUMMER-10",
            "expiration_date": iso(code.expires_at),
            "referrer": {"username": code.owner.username},
        }


def test_unknown_expired_deleted_and_blocked_codes_are_told_apart_nowhere(api):
    deleted = make_code(wish="DELETED")
    services.retire_code(deleted.owner)
    make_expired_code(code="EXPIRED")
    make_code(make_user(is_active=False), wish="BLOCKED")
    answers = set()
    for typed in ["DELETED", "EXPIRED", "BLOCKED", "UNKNOWN", "x", "%00", "%ED%A0%80", "a" * 500, "<script>"]:
        response = api.get(f"/api/referral-code/{typed}/")
        assert response.status_code == 404
        answers.add(str(response.json() | {"request_id": ""}))
    assert len(answers) == 1


# --- mailing ---


@pytest.mark.parametrize("call", ["get", "post"])
def test_ones_own_code_is_mailed_to_ones_own_address(as_user, mailbox, call):
    code = make_code()
    client = as_user(code.owner)
    assert getattr(client, call)("/api/referral-code/email/").status_code == 200
    [mail] = mailbox()
    assert mail.to == [code.owner.email]
    assert code.code in mail.body
    assert code.share_url in mail.body
    [(html, kind)] = mail.alternatives
    assert kind == "text/html"
    assert code.code in html


@pytest.mark.parametrize("call", ["get", "post"])
def test_somebody_elses_code_is_mailed_to_them_with_a_note_on_who_asked(as_user, mailbox, call):
    """R16"""
    code, asker = make_code(), make_user(username="asker")
    response = getattr(as_user(asker), call)("/api/referral-code/email/", {"email": code.owner.email})
    assert response.status_code == 200
    assert code.code not in response.text
    [mail] = mailbox()
    assert mail.to == [code.owner.email]
    assert "asker" in mail.body
    assert code.code in mail.body


def test_the_answer_is_the_same_whether_or_not_there_is_anyone_to_mail(as_user, mailbox):
    make_code(make_user(email="there@example.com"))
    make_code(make_user(email="hidden@example.com", discoverable_by_email=False))
    make_user(email="none@example.com")
    client = as_user(make_user())
    bodies = {
        client.post("/api/referral-code/email/", {"email": f"{name}@example.com"}).text
        for name in ["there", "hidden", "none", "unknown"]
    }
    assert len(bodies) == 1
    assert [mail.to for mail in mailbox()] == [["there@example.com"]]


@pytest.mark.parametrize("own", [{}, {"email": "own@example.com"}])
def test_without_an_active_code_of_ones_own_nothing_is_mailed(as_user, mailbox, own):
    """R18"""
    client = as_user(make_user(email="own@example.com"))
    assert error_of(client.post("/api/referral-code/email/", own)) == (404, None, "no_active_code")
    assert mailbox() == []


@pytest.mark.parametrize(
    "address",
    [["a@example.com", "b@example.com"], "a@example.com,b@example.com", "a@example.com\r\nBcc: b@example.com"],
)
def test_a_mail_goes_to_no_more_than_one_address(as_user, mailbox, address):
    """R16, R20"""
    make_code(make_user(email="a@example.com"))
    make_code(make_user(email="b@example.com"))
    response = as_user(make_user()).post("/api/referral-code/email/", {"email": address})
    assert response.status_code == 400
    assert mailbox() == []


def test_looking_ahead_sends_nothing(as_user, mailbox):
    """R19"""
    client = as_user(make_code().owner)
    assert client.head("/api/referral-code/email/").status_code == 405
    assert client.options("/api/referral-code/email/").status_code == 405
    for header in ["HTTP_SEC_PURPOSE", "HTTP_PURPOSE"]:
        assert client.get("/api/referral-code/email/", **{header: "prefetch"}).status_code == 400
    assert mailbox() == []


@pytest.mark.parametrize("there", [True, False])
def test_over_the_limit_of_a_mailbox_nothing_is_mailed(as_user, mailbox, settings, clock, there):
    """R17: whether or not there is anyone at that address."""
    settings.THROTTLE_MAIL_MAILBOX = [(2, 3600)]
    if there:
        make_code(make_user(email="grace@example.com"))
    for spelling in ["grace@example.com", "GRACE@example.com"]:
        assert as_user(make_user()).post("/api/referral-code/email/", {"email": spelling}).status_code == 200
    sent = len(mailbox())
    response = as_user(make_user()).post("/api/referral-code/email/", {"email": "g.race+tag@example.com"})
    assert error_of(response) == (429, None, "throttled")
    assert 0 < int(response["Retry-After"]) <= 3600
    assert len(mailbox()) == sent == (2 if there else 0)
    assert OutgoingEmail.objects.count() == sent


def test_one_client_cannot_have_mail_sent_to_all_the_world(as_user, settings, clock):
    settings.THROTTLE_MAIL_CLIENT = [(2, 3600)]
    client = as_user(make_user())
    codes = [client.post("/api/referral-code/email/", {"email": f"a{n}@example.com"}).status_code for n in range(3)]
    assert codes == [200, 200, 429]


def test_an_offset_at_the_edge_of_the_clock_shows_everywhere(as_user):
    """B9: what is stored can be shown in UTC+14 and UTC-12."""
    from zoneinfo import ZoneInfo

    code = make_code(expires_at=timezone.now() + timedelta(days=365 * 5))
    for zone in ["Pacific/Kiritimati", "Etc/GMT+12"]:
        assert code.expires_at.astimezone(ZoneInfo(zone))
