"""A referral code on the way through a provider."""

import pytest

from referrals import services
from referrals.models import Referral
from referrals.tests.factories import make_code, make_expired_code
from users.models import User
from users.tests.providers import BACK

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("github_answers")]

GITHUB = "/auth/o/github/"


def leave(client, **extra) -> dict[str, str]:
    url = client.get(GITHUB, {"redirect_uri": BACK} | extra).json()["authorization_url"]
    return {"code": "any", "state": url.partition("state=")[2].partition("&")[0]}


def test_a_code_survives_the_way_through_a_provider(api):
    """O11"""
    code = make_code()
    response = api.post(GITHUB, leave(api, referral_code=code.code.lower()))
    assert response.status_code == 201
    assert response.json()["user"]["referrer"] == {"username": code.owner.username}
    assert Referral.objects.get().code == code


def test_the_code_stays_on_the_server(api):
    """O11: neither the provider nor the browser is given it to carry."""
    code = make_code()
    response = api.get(GITHUB, {"redirect_uri": BACK, "referral_code": code.code})
    told = f"{response.json()}{response.headers}{response.cookies}"
    assert code.code not in told
    assert code.code in str(dict(api.session))


def test_a_code_is_checked_before_anyone_leaves(api):
    expired = make_expired_code()
    for typed in ["UNKNOWN", expired.code]:
        response = api.get(GITHUB, {"redirect_uri": BACK, "referral_code": typed})
        assert response.status_code == 400
        assert [(error["field"], error["code"]) for error in response.json()["errors"]] == [
            ("referral_code", "invalid_code")
        ]


def test_a_code_that_ended_on_the_way_makes_no_account(api):
    code = make_code()
    returned = leave(api, referral_code=code.code)
    services.retire_code(code.owner)
    response = api.post(GITHUB, returned)
    assert response.status_code == 400
    assert not User.objects.filter(email="newcomer@example.com").exists()
    assert not Referral.objects.exists()


def test_the_way_back_and_its_body_cannot_bring_a_code_in(api):
    """O11: what the server kept is what counts."""
    code = make_code()
    returned = leave(api) | {"referral_code": code.code}
    assert api.post(f"{GITHUB}?referral_code={code.code}", returned).json()["user"]["referrer"] is None


def test_who_has_an_account_keeps_the_referrer_they_have_or_have_not(api):
    """R3, R4"""
    assert api.post(GITHUB, leave(api)).json()["user"]["referrer"] is None
    code = make_code()
    assert api.post(GITHUB, leave(api, referral_code=code.code)).json()["user"]["referrer"] is None
    assert not Referral.objects.exists()
