"""A new SECRET_KEY: what the one before it has signed is good while that is listed, and then no more."""

import secrets

import pytest
from django.test import Client
from djoser.utils import encode_uid

from config.api.context import client, client_pseudonym
from users import audit
from users.models import AuditEvent
from users.tests.factories import PASSWORD, make_user
from users.tests.test_links import CONFIRM, is_bad_link, make_token, use

pytestmark = pytest.mark.django_db


@pytest.fixture
def change_key(settings):
    def change(*, keep: bool) -> None:
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS] if keep else []
        settings.SECRET_KEY = secrets.token_urlsafe(48)

    return change


@pytest.mark.parametrize("link", CONFIRM, ids=["activation", "password reset", "change of address", "undo"])
def test_a_link_outlives_the_key_that_signed_it_while_that_is_listed(api, change_key, link):
    """S4"""
    user, late = make_user(email="old@example.com"), make_user()
    token, late_token = make_token(link, user), make_token(link, late)
    change_key(keep=True)
    change_key(keep=True)
    assert use(api, link, encode_uid(user.pk), token).status_code in (200, 204)
    assert is_bad_link(use(api, link, encode_uid(user.pk), token))  # a key of before makes nothing good again
    change_key(keep=False)
    assert is_bad_link(use(api, link, encode_uid(late.pk), late_token))


def test_a_session_outlives_the_key_that_signed_it_while_that_is_listed(change_key):
    """S4"""
    make_user(email="ada@example.com", is_staff=True)
    browser, left = Client(), Client()
    for one in (browser, left):
        one.post("/admin/login/", {"username": "ada@example.com", "password": PASSWORD})
    change_key(keep=True)
    assert browser.get("/admin/").status_code == 200
    change_key(keep=False)
    assert left.get("/admin/").status_code == 302
    assert browser.get("/admin/").status_code == 302


def test_a_session_that_is_used_meanwhile_is_signed_anew(change_key, settings):
    """S4: who comes by while both keys are known stays signed in when the old one goes."""
    make_user(email="ada@example.com", is_staff=True)
    browser = Client()
    browser.post("/admin/login/", {"username": "ada@example.com", "password": PASSWORD})
    change_key(keep=True)
    browser.get("/admin/")
    settings.SECRET_KEY_FALLBACKS = []
    assert browser.get("/admin/").status_code == 200


def test_a_client_is_known_by_the_name_that_an_old_key_gave_it(change_key):
    """S4, T5: whoever signed in from here before is not kept out by what others try."""
    user = make_user()
    token = client.set("203.0.113.7")
    audit.record(AuditEvent.Kind.SIGNED_IN, user)
    name = client_pseudonym()
    change_key(keep=True)
    assert client_pseudonym() != name
    assert audit.has_signed_in_from_here(user)
    change_key(keep=False)
    assert not audit.has_signed_in_from_here(user)
    client.reset(token)
