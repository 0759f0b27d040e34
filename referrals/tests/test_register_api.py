"""Signing up with a code, at either of the two calls that take one."""

import pytest

from referrals import services
from referrals.models import Referral
from referrals.tests.factories import make_code, make_expired_code
from users.models import User
from users.tests.factories import PASSWORD, make_user

pytestmark = pytest.mark.django_db

CALLS = ["/auth/users/", "/api/register-with-referral/"]
LINUS = {"email": "linus@example.com", "password": PASSWORD, "username": "linus"}


@pytest.mark.parametrize("call", CALLS)
def test_who_signs_up_with_a_code_is_a_referral_of_its_owner(api, as_user, call):
    code = make_code()
    response = api.post(call, LINUS | {"referral_code": code.code.lower()})
    assert response.status_code == 201
    user = User.objects.get(email="linus@example.com")
    assert response.json() == as_user(user).get("/auth/users/me/").json()
    assert response.json()["referrer"] == {"username": code.owner.username}
    referral = Referral.objects.get()
    assert (referral.referrer, referral.referred, referral.code) == (code.owner, user, code)


def test_who_signs_up_without_a_code_has_no_referrer(api):
    assert api.post("/auth/users/", LINUS).json()["referrer"] is None
    assert not Referral.objects.exists()


def test_registering_with_a_code_takes_one(api):
    response = api.post("/api/register-with-referral/", LINUS)
    assert response.status_code == 400
    assert [(error["field"], error["code"]) for error in response.json()["errors"]] == [("referral_code", "required")]


@pytest.mark.parametrize("call", CALLS)
def test_unknown_expired_deleted_and_impossible_codes_get_one_same_answer(api, call):
    """B11"""
    deleted = make_code(wish="DELETED")
    services.retire_code(deleted.owner)
    make_expired_code(code="EXPIRED")
    make_code(make_user(is_active=False), wish="BLOCKED")
    users = User.objects.count()
    answers = set()
    for typed in ["DELETED", "EXPIRED", "BLOCKED", "UNKNOWN", "x", "_", "Ж" * 40, "A" * 100]:
        response = api.post(call, LINUS | {"referral_code": typed})
        assert response.status_code == 400
        assert [(error["field"], error["code"]) for error in response.json()["errors"]] == [
            ("referral_code", "invalid_code")
        ]
        answers.add(str(response.json() | {"request_id": ""}))
    assert len(answers) == 1
    assert User.objects.count() == users


@pytest.mark.parametrize("call", CALLS)
def test_everything_that_is_wrong_is_said_at_once(api, call):
    make_user(email="linus@example.com", username="Linus")
    response = api.post(call, LINUS | {"referral_code": "UNKNOWN", "username": "linus"})
    assert {(error["field"], error["code"]) for error in response.json()["errors"]} == {
        ("email", "email_taken"),
        ("username", "username_taken"),
        ("referral_code", "invalid_code"),
    }


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", ["json", "multipart"])
def test_who_refers_whom_is_nothing_that_a_body_can_set(api, call, kind):
    """B14"""
    code, victim = make_code(), make_user()
    body = LINUS | {
        "referral_code": code.code,
        "id": victim.pk,
        "referrer": victim.username,
        "is_staff": "true",
        "is_superuser": "true",
        "created_at": "2000-01-01",
    }
    assert api.post(call, body, format=kind).status_code == 201
    user = User.objects.get(email="linus@example.com")
    assert (user.is_staff, user.is_superuser, user.pk == victim.pk) == (False, False, False)
    assert Referral.objects.get().referrer == code.owner


def test_a_referral_is_never_written_again(api):
    """R3, R4"""
    referrer, other = make_code(), make_code()
    assert api.post("/auth/users/", LINUS | {"referral_code": referrer.code}).status_code == 201
    assert api.post("/auth/users/", LINUS | {"referral_code": other.code}).status_code == 400
    assert Referral.objects.get().referrer == referrer.owner
