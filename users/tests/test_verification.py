"""Signing in that waits for the proof of the address."""

import pytest
from djoser.utils import encode_uid

from users.models import User
from users.tests.factories import PASSWORD, make_user
from users.tokens import ACTIVATION

pytestmark = pytest.mark.django_db


def sign_in(client):
    return client.post("/auth/jwt/create/", {"email": "ada@example.com", "password": PASSWORD})


def test_where_it_is_asked_for_who_has_not_proved_their_address_cannot_sign_in(api, settings):
    """U5: with the same answer as for a wrong password."""
    settings.REQUIRE_EMAIL_VERIFICATION = True
    user = make_user(email="ada@example.com")
    refused = sign_in(api)
    wrong = api.post("/auth/jwt/create/", {"email": "ada@example.com", "password": "wrong"})
    assert refused.status_code == wrong.status_code == 401
    assert refused.json() | {"request_id": ""} == wrong.json() | {"request_id": ""}
    link = {"uid": encode_uid(user.pk), "token": ACTIVATION.make(user)}
    assert api.post("/auth/users/activation/", link).status_code == 204
    assert sign_in(api).status_code == 200


def test_where_it_is_not_asked_for_signing_in_does_not_wait(api):
    make_user(email="ada@example.com")
    assert sign_in(api).status_code == 200


@pytest.mark.usefixtures("github_answers")
def test_who_comes_through_a_provider_that_does_not_vouch_for_them_waits_too(api, settings):
    settings.REQUIRE_EMAIL_VERIFICATION = True
    url = api.get("/auth/o/github/", {"redirect_uri": "https://app.example.com/back"}).json()["authorization_url"]
    state = url.partition("state=")[2].partition("&")[0]
    assert api.post("/auth/o/github/", {"code": "any", "state": state}).status_code == 401
    assert not User.objects.get().email_verified
