"""What is asked of who came through a provider and has no password: to have signed in just now."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import pytest
from django.utils import timezone

from users.models import OutgoingEmail, User
from users.tests.factories import PASSWORD, make_user
from users.tests.providers import BACK
from users.tokens import RefreshToken

pytestmark = pytest.mark.django_db

NEW_PASSWORD = "staple under the moon"
CALLS = [
    ("delete", "/auth/users/me/", {}),
    ("post", "/auth/users/set_email/", {"new_email": "new@example.com"}),
    ("post", "/auth/users/set_password/", {"new_password": NEW_PASSWORD}),
]
each_call = pytest.mark.parametrize(("method", "path", "body"), CALLS, ids=["close", "set_email", "set_password"])


def signed_in(api, user: User, ago: timedelta = timedelta(0)):
    """A client of `user`, who signed in that long ago and has had a new pair just now."""
    with patch("rest_framework_simplejwt.tokens.aware_utcnow", return_value=timezone.now() - ago):
        refresh = RefreshToken.for_user(user)
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {refresh.rotate().access_token}")
    return api


@contextmanager
def nothing_done() -> Iterator[None]:
    before = User.objects.values().get()
    yield
    assert User.objects.values().get() == before
    assert not OutgoingEmail.objects.exists()


def come_back_from_github(api) -> None:
    """Sign in through GitHub, with its only person."""
    api.credentials()
    url = api.get("/auth/o/github/", {"redirect_uri": BACK}).json()["authorization_url"]
    pair = api.post("/auth/o/github/", {"code": "any", "state": parse_qs(urlsplit(url).query)["state"][0]}).json()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {pair['access']}")


def errors(response) -> list[tuple[str, str]]:
    assert response.status_code == 400, response.content
    return [(error["field"], error["code"]) for error in response.json()["errors"]]


@each_call
@pytest.mark.parametrize("more", [{}, {"current_password": ""}, {"current_password": None}, {"current_password": "x"}])
def test_without_a_password_a_login_of_just_now_is_enough(api, method, path, body, more):
    """U15, U16: whatever a client sends for the password that there is not"""
    client = signed_in(api, make_user(password=None), ago=timedelta(minutes=4))
    assert getattr(client, method)(path, body | more).status_code == 204


@each_call
@pytest.mark.parametrize("more", [{}, {"current_password": ""}, {"current_password": PASSWORD}])
def test_without_a_password_an_old_login_is_not_enough_however_new_its_token(api, method, path, body, more):
    """U15, U16"""
    client = signed_in(api, make_user(password=None), ago=timedelta(minutes=6))
    with nothing_done():
        response = getattr(client, method)(path, body | more)
    assert errors(response) == [("current_password", "fresh_login_required")]
    assert "Sign in anew" in response.json()["detail"]


@each_call
@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({}, "required"),
        ({"current_password": ""}, "blank"),
        ({"current_password": None}, "null"),
        ({"current_password": "wrong"}, "invalid_password"),
    ],
)
def test_who_has_a_password_does_not_get_around_it_by_a_login_of_just_now(api, method, path, body, more, code):
    """U15, U16"""
    client = signed_in(api, make_user())
    with nothing_done():
        assert errors(getattr(client, method)(path, body | more)) == [("current_password", code)]


@each_call
def test_who_has_a_password_needs_no_fresh_login_beside_it(api, method, path, body):
    """U15, U16"""
    client = signed_in(api, make_user(), ago=timedelta(minutes=6))
    assert getattr(client, method)(path, body | {"current_password": PASSWORD}).status_code == 204


@pytest.mark.parametrize("ago", [0, 6])
def test_all_that_is_wrong_is_said_at_once(api, ago):
    client = signed_in(api, make_user(password=None), ago=timedelta(minutes=ago))
    stale = [("current_password", "fresh_login_required")] if ago else []
    wrong = client.post("/auth/users/set_email/", {"new_email": "nonsense"})
    assert sorted(errors(wrong)) == [*stale, ("new_email", "invalid_email")]


@pytest.mark.usefixtures("github_answers")
def test_who_came_through_a_provider_sets_a_password_and_needs_it_from_then_on(api):
    """U15, U16"""
    come_back_from_github(api)
    assert api.post("/auth/users/set_password/", {"new_password": NEW_PASSWORD}).status_code == 204
    assert api.get("/auth/users/me/").status_code == 401  # every login ends
    come_back_from_github(api)
    assert errors(api.delete("/auth/users/me/")) == [("current_password", "required")]
    assert api.delete("/auth/users/me/", {"current_password": NEW_PASSWORD}).status_code == 204
