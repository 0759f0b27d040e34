"""Naming one's referrer after the sign-up."""

from datetime import timedelta

import pytest
from django.utils import timezone

from referrals import services
from referrals.models import Referral
from referrals.tests.factories import make_code, make_expired_code, make_referral
from users.models import User
from users.tests.factories import make_user

pytestmark = pytest.mark.django_db

CLAIM = "/api/referrals/claim/"


def test_who_signed_up_without_a_code_names_their_referrer_once(as_user):
    """R3, R4"""
    code, other, late = make_code(), make_code(), make_user()
    client = as_user(late)
    response = client.post(CLAIM, {"referral_code": code.code.lower()})
    assert response.status_code == 201
    assert response.json() == client.get("/auth/users/me/").json()
    assert response.json()["referrer"] == {"username": code.owner.username}
    again = client.post(CLAIM, {"referral_code": other.code})
    assert (again.status_code, again.json()["code"]) == (409, "already_referred")
    assert Referral.objects.get().referrer == code.owner


def test_who_registered_with_a_code_cannot_claim_another(as_user):
    """R4"""
    referral, other = make_referral(), make_code()
    response = as_user(referral.referred).post(CLAIM, {"referral_code": other.code})
    assert response.json()["code"] == "already_referred"


@pytest.mark.parametrize(("hours", "status"), [(71, 201), (73, 409)])
def test_a_claim_comes_within_its_window(as_user, hours, status):
    """R3"""
    code, late = make_code(), make_user()
    User.objects.filter(pk=late.pk).update(registered_at=timezone.now() - timedelta(hours=hours))
    response = as_user(late).post(CLAIM, {"referral_code": code.code})
    assert response.status_code == status
    if status == 409:
        assert response.json()["code"] == "claim_window_closed"
        assert not Referral.objects.exists()


def test_ones_own_a_younger_accounts_and_a_dead_code_get_one_same_answer(as_user):
    """R1, R2: no later account is a referrer, so no cycle of any length can come about."""
    user = make_user()
    own = make_code(user)
    younger = make_code()
    deleted, expired = make_code(), make_expired_code()
    services.retire_code(deleted.owner)
    answers = set()
    for code in [own.code, younger.code, deleted.code, expired.code, "UNKNOWN"]:
        response = as_user(user).post(CLAIM, {"referral_code": code})
        assert response.status_code == 400
        answers.add(str(response.json() | {"request_id": ""}))
    assert len(answers) == 1
    assert "invalid_code" in answers.pop()
    assert not Referral.objects.exists()


def test_a_claim_takes_a_token(api):
    assert api.post(CLAIM, {"referral_code": make_code().code}).status_code == 401
