"""What a stranger learns about who has an account: nothing, where the service is asked to tell nothing."""

from functools import partial
from unittest.mock import patch

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from djoser.utils import encode_uid

from config.tests.at_once import all_at_once, database_for_threads
from referrals.emails import ReferralCodeEmail
from referrals.models import Referral
from referrals.services import register
from referrals.tests.factories import make_code
from users.errors import UsernameTaken
from users.models import OutgoingEmail, User
from users.services import close_account
from users.tests.factories import make_user
from users.tokens import ACTIVATION

pytestmark = pytest.mark.django_db


def answer(response) -> tuple:
    """All of an answer but the request's id."""
    body = response.json() | {"request_id": None} if response.content else None
    return response.status_code, body, dict(response.headers) | {"X-Request-ID": None}


def make_everybody() -> list[str]:
    """Addresses of every kind of account that cannot be signed in to by this password, and of none."""
    make_user(email="known@example.com")
    make_user(email="blocked@example.com", is_active=False)
    make_user(email="social@example.com", password=None)
    return [f"{name}@example.com" for name in ("known", "blocked", "social", "nobody")]


@pytest.mark.parametrize(
    "call",
    ["/auth/jwt/create/", "/auth/users/reset_password/", "/auth/users/resend_activation/", "/api/referral-code/"],
)
def test_every_kind_of_account_and_none_get_the_same_answer(api, as_user, call):
    """N1, N4, N8, U5"""
    curious = as_user(make_user())
    if call == "/api/referral-code/":
        answers = [answer(curious.get(call, {"email": address})) for address in make_everybody()]
    else:
        answers = [answer(api.post(call, {"email": a, "password": "not it"})) for a in make_everybody()]
    assert all(same == answers[0] for same in answers)


def test_what_is_done_for_a_known_address_before_the_answer_is_done_for_any(api, django_assert_num_queries):
    """N2: the same queries; whether there is somebody is looked up after the answer."""
    make_everybody()
    for call in ("/auth/users/reset_password/", "/auth/users/resend_activation/"):
        for address in ("known@example.com", "nobody@example.com"):
            with django_assert_num_queries(1):
                api.post(call, {"email": address})
    assert not OutgoingEmail.objects.exists()


def test_a_failed_sign_in_does_the_same_for_nobody_as_for_somebody(api):
    """N2: as many queries, and one look at a password."""
    done = []
    for address in ["warm-up@example.com", *make_everybody()]:
        with (
            CaptureQueriesContext(connection) as captured,
            patch.object(User, "check_password", autospec=True, return_value=False) as looks,
        ):
            api.post("/auth/jwt/create/", {"email": address, "password": "not it"})
        done.append((len(captured), looks.call_count))
    assert done == [done[0]] * 5
    assert done[0][1] == 1


# --- signing up ---

SIGN_UP = {"email": "ada@example.com", "password": "staple under the moon", "username": "lovelace"}


@pytest.fixture
def discreet(settings) -> None:
    settings.REGISTRATION_REVEALS_ACCOUNTS = False
    settings.REQUIRE_EMAIL_VERIFICATION = True


def sign_up(api, call: str, **more):
    path = "/auth/users/" if call == "users" else "/api/register-with-referral/"
    return api.post(path, SIGN_UP | more)


def test_by_default_a_sign_up_says_that_an_address_is_taken(api):
    """N7"""
    make_user(email="ada@example.com")
    [error] = sign_up(api, "users").json()["errors"]
    assert (error["field"], error["code"]) == ("email", "email_taken")


@pytest.mark.parametrize("call", ["users", "register-with-referral"])
def test_a_stranger_cannot_tell_a_sign_up_with_a_taken_address_from_any_other(api, discreet, call, mailbox):
    """N7"""
    code = make_code(make_user(username="grace"))
    with_code = {"referral_code": code.code}
    free = sign_up(api, call, email="free@example.com", **{"username": "babbage"} | with_code)
    make_user(email="ada@example.com", email_verified_at=free.json()["registered_at"])
    taken = sign_up(api, call, **with_code)
    bodies = [response.json() for response in (free, taken)]
    assert (free.status_code, taken.status_code) == (201, 201)
    assert free.headers.keys() == taken.headers.keys()
    assert bodies[1] == bodies[0] | {
        "id": bodies[0]["id"] + 2,
        "email": "ada@example.com",
        "username": "lovelace",
        "registered_at": bodies[1]["registered_at"],
    }
    assert {type(value) for value in bodies[0].values()} == {type(value) for value in bodies[1].values()}
    shadow = User.objects.get(username="lovelace")
    assert (shadow.email, shadow.is_active, shadow.closed_at is None) == (None, False, False)
    to_free, to_owner = mailbox()
    assert (to_free.to, to_owner.to) == (["free@example.com"], ["ada@example.com"])
    assert "/account/" in to_free.body
    assert "/account/" not in to_owner.body

    # Nor by what comes after: signing in, the name, the list of the referrer.
    for email in ("free@example.com", "ada@example.com"):
        assert api.post("/auth/jwt/create/", {"email": email, "password": SIGN_UP["password"]}).status_code == 401
    for username in ("babbage", "lovelace"):
        again = sign_up(api, call, email="other@example.com", username=username, **with_code)
        assert [error["code"] for error in again.json()["errors"]] == ["username_taken"]


def test_a_referral_shows_once_its_address_is_proved(as_user, api, discreet):
    """N7: so that the list of a referrer is no way round."""
    grace = make_user(username="grace", email_verified_at="2026-01-01T00:00:00Z")
    code = make_code(grace)
    make_user(email="ada@example.com")
    for email, username in (("ada@example.com", "lovelace"), ("free@example.com", "babbage")):
        assert sign_up(api, "users", email=email, username=username, referral_code=code.code).status_code == 201
    me = as_user(grace)
    shown = lambda: me.get(f"/api/referrals/{grace.pk}/").json()["results"]  # noqa: E731
    assert shown() == []
    assert me.get(f"/api/referrals/{grace.pk}/summary/").json()["total"] == 0
    free = User.objects.get(username="babbage")
    link = {"uid": encode_uid(free.pk), "token": ACTIVATION.make(free)}
    assert api.post("/auth/users/activation/", link).status_code == 204
    assert [row["username"] for row in shown()] == ["babbage"]
    assert me.get(f"/api/referrals/{grace.pk}/summary/").json()["codes"] == [{"code": code.code, "total": 1}]
    close_account(free)
    assert len(shown()) == 1
    assert Referral.objects.count() == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("taken", [True, False])
def test_two_sign_ups_at_once_tell_no_more_than_one(discreet, taken, tmp_path):
    """N7, C1"""
    if taken:
        make_user(email="ada@example.com")
    with database_for_threads(tmp_path):
        works = [partial(register, **SIGN_UP | {"username": f"name{n}"}) for n in range(4)]
        users = all_at_once(*works)
        assert [user.email for user in users] == ["ada@example.com"] * 4
        assert User.objects.filter(email="ada@example.com").count() == 1


def test_a_name_that_is_taken_is_said_to_be_taken_whatever_becomes_of_the_address(discreet):
    """N7: in a race the database has the last word, and it speaks of the name alone."""
    make_user(username="lovelace")
    make_user(email="ada@example.com")
    close_account(make_user())
    with pytest.raises(UsernameTaken):
        register(**SIGN_UP)


def test_mail_about_others_who_had_the_address_is_nobodys_to_export_or_to_delete(as_user):
    """P1, P2"""
    ada = make_user(email="ada@example.com")
    ReferralCodeEmail(ada, make_code(ada)).queue()
    User.objects.filter(pk=ada.pk).update(email="elsewhere@example.com")
    stranger = make_user(email="ada@example.com")
    assert as_user(stranger).get("/auth/users/me/export/").json()["mails"] == []
    close_account(stranger)
    assert [mail["to"] for mail in as_user(ada).get("/auth/users/me/export/").json()["mails"]] == ["ada@example.com"]
