"""The pages that people open: what this is, an invitation, the links of e-mails, the documentation, the health."""

import re

import pytest
from django.db import OperationalError, connection
from django.test import Client
from djoser.utils import encode_uid

from config.tests.live import free_port
from referrals import services
from referrals.tests.factories import make_code, make_expired_code
from users.models import User
from users.tests.factories import PASSWORD, make_user
from users.tokens import ACTIVATION, EMAIL_CHANGE, EMAIL_UNDO, PASSWORD_RESET

RUSSIAN = {"Accept-Language": "ru-RU,ru;q=0.9,en;q=0.5"}
NEW_PASSWORD = "staple under the moon"
FOREIGN = re.compile(r"""(?:src|href|url\()\s*=?\s*["']?(?:https?:)?//""")


def link_to(page: str, user: User, token: str) -> str:
    return f"/account/{page}/{encode_uid(user.pk)}/{token}/"


def activation_link(user: User) -> str:
    return link_to("activate", user, ACTIVATION.make(user))


def reset_link(user: User) -> str:
    return link_to("reset-password", user, PASSWORD_RESET.make(user))


def email_change_link(user: User) -> str:
    return link_to("change-email", user, EMAIL_CHANGE.make(user, "new@example.com"))


def keep_email_link(user: User) -> str:
    return link_to("keep-email", user, EMAIL_UNDO.make(user, "old@example.com"))


each_link = pytest.mark.parametrize("make_link", [activation_link, reset_link, email_change_link, keep_email_link])
form = {"new_password": NEW_PASSWORD}


# --- Pages that lie open ---


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/", "Read the API"),
        ("/redoc/", '<main id="redoc" data-schema="/api/schema/?format=json"'),
        ("/swagger/", "swagger-ui"),
        ("/admin/login/", "Log in | Referral service"),
    ],
)
def test_a_page_opens_and_names_no_other_host(client, path, words):
    """H2"""
    response = client.get(path)
    assert response.status_code == 200
    assert response["Content-Type"] == "text/html; charset=utf-8"
    assert words in response.text
    assert not FOREIGN.search(response.text)


def test_the_start_page_leads_to_pages_that_are_there(client):
    paths = re.findall(r'<a href="([^"]+)"', client.get("/").text)
    assert len(paths) == 4
    assert [client.get(path, follow=True).status_code for path in paths] == [200, 200, 200, 200]


@pytest.mark.parametrize("path", ["/redoc", "/swagger", "/admin"])
def test_a_forgotten_slash_is_added(client, path):
    response = client.get(path)
    assert (response.status_code, response["Location"]) == (301, f"{path}/")


def test_a_browser_that_asks_for_an_icon_is_led_to_it(client):
    """Pages of others, the admin's for one, name none."""
    response = client.get("/favicon.ico", follow=True)
    assert (response.status_code, response["Content-Type"]) == (200, "image/svg+xml")


@pytest.mark.parametrize(
    ("accepted", "language"),
    [("ru", "ru"), ("ru-RU,ru;q=0.9,en;q=0.5", "ru"), ("en-GB", "en"), ("xx", "en"), ("", "en")],
)
def test_a_page_says_in_which_language_it_is(client, accepted, language):
    response = client.get("/", headers={"Accept-Language": accepted})
    assert f'<html lang="{language}">' in response.text
    assert response["Content-Language"] == language
    assert "Accept-Language" in response["Vary"]


def test_what_is_not_there_is_a_page_outside_the_api_and_a_problem_inside(client):
    """G2"""
    page = client.get("/nothing", headers=RUSSIAN)
    assert (page.status_code, page["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert '<html lang="ru">' in page.text
    assert page["X-Request-ID"] in page.text
    problem = client.get("/api/nothing/")
    assert (problem.status_code, problem["Content-Type"]) == (404, "application/problem+json")


@pytest.mark.parametrize("path", ["/", "/redoc/", "/swagger/", "/r/SUMMER"])
def test_a_page_to_read_takes_no_post(client, path):
    response = client.post(path)
    assert response.status_code == 405
    assert {"GET", "HEAD"} <= set(response["Allow"].split(", "))


def test_a_form_of_the_admin_from_elsewhere_is_refused_by_our_own_page():
    """H8"""
    response = Client(enforce_csrf_checks=True).post("/admin/login/", {"username": "ada", "password": PASSWORD})
    assert response.status_code == 403
    assert response["X-Request-ID"] in response.text
    assert "DEBUG" not in response.text


# --- The invitation ---


@pytest.mark.django_db
@pytest.mark.parametrize("typed", ["ADA-2030", "ada-2030", "ADA2030", "ada 2o3o"])
def test_an_invitation_shows_who_invites_and_the_code(client, typed):
    """B11"""
    code = make_code(make_user(username="ada", email="ada@example.com"), wish="ADA-2030")
    response = client.get(f"/r/{typed}")
    assert response.status_code == 200
    assert "ada invites you" in response.text
    assert code.code in response.text
    assert "@example.com" not in response.text
    assert client.head(f"/r/{typed}").status_code == 200


@pytest.mark.django_db
def test_an_invitation_that_is_over_says_one_thing_whatever_the_reason(client):
    deleted, blocked, closed = make_code(), make_code(), make_code()
    services.retire_code(deleted.owner)
    User.objects.filter(pk=blocked.owner_id).update(is_active=False)
    services.retire_any_code(closed.owner)
    ended = [code.code for code in (deleted, blocked, closed, make_expired_code())]
    answers = [client.get(f"/r/{code}") for code in [*ended, "UNKNOWN", "%00", "%ED%A0%80", "x" * 500]]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert "Ask the person who sent it to you" in answers[0].text


# --- The links of e-mails ---


@pytest.mark.django_db
@each_link
def test_the_page_of_a_link_keeps_its_address_to_itself(client, make_link):
    """What is in the address lets someone in: no cache keeps it, no other site is told, no search engine, no frame."""
    for response in (client.get(make_link(make_user())), client.post(make_link(make_user()), form)):
        assert response.status_code == 200
        assert response["Referrer-Policy"] == "no-referrer"
        assert response["Cache-Control"] == "no-store"
        assert response["X-Frame-Options"] == "DENY"
        assert '<meta name="robots" content="noindex">' in response.text
        assert not FOREIGN.search(response.text)
        assert not response.cookies


@pytest.mark.django_db
@each_link
def test_opening_a_link_changes_nothing_and_pressing_the_button_uses_it_up(client, make_link):
    """R19: a mail scanner opens every link."""
    user = make_user(email="old@example.com")
    before = User.objects.values().get(pk=user.pk)
    link = make_link(user)
    assert client.get(link).text.count("<button>") == 1
    assert client.head(link).status_code == 200
    assert User.objects.values().get(pk=user.pk) == before

    assert client.post(link, form).status_code == 200
    assert User.objects.values().get(pk=user.pk) != before
    again = client.post(link, form)
    assert again.status_code == 400
    assert "This link is not valid, was used already, or has expired." in again.text


@pytest.mark.django_db
@each_link
def test_a_browser_that_keeps_its_address_to_itself_can_press_the_button(make_link):
    """A page without a referrer posts with `Origin: null`, and some people keep no cookies."""
    browser = Client(enforce_csrf_checks=True)
    assert browser.post(make_link(make_user()), form, headers={"Origin": "null"}).status_code == 200


@pytest.mark.django_db
def test_each_link_does_what_it_says(client):
    user = make_user(email="old@example.com")
    assert not user.email_verified
    assert "Your e-mail address is confirmed." in client.post(activation_link(user)).text
    user.refresh_from_db()
    assert user.email_verified
    assert "Your new password is set." in client.post(reset_link(user), form).text
    user.refresh_from_db()
    assert user.check_password(NEW_PASSWORD)
    assert "Your account has the new e-mail address now." in client.post(email_change_link(user)).text
    user.refresh_from_db()
    assert user.email == "new@example.com"
    assert "Your account keeps its old e-mail address." in client.post(keep_email_link(user)).text
    user.refresh_from_db()
    assert user.email == "old@example.com"


@pytest.mark.django_db
@pytest.mark.parametrize("page", ["activate", "reset-password", "change-email", "keep-email"])
@pytest.mark.parametrize(("uid", "token"), [("x", "y"), ("MQ", "WzFd:x:y"), ("%00", "%00"), ("%ED%A0%80", "x" * 9000)])
def test_a_wrong_link_is_refused_with_a_clear_word_and_no_button(client, page, uid, token):
    """B4, B5"""
    response = client.post(f"/account/{page}/{uid}/{token}/", form, headers=RUSSIAN)
    assert response.status_code == 400
    assert "Ссылка недействительна, уже использована или устарела." in response.text
    assert "<button>" not in response.text
    assert response["Referrer-Policy"] == "no-referrer"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "password",
    ["1f9.Kq7", "password1", "", "x" * 129, "a long way from old@example.com to here", "bell\x07 in the password"],
)
def test_a_weak_password_is_refused_beside_its_field_and_leaves_the_link_good(client, password):
    """U1, U2"""
    user = make_user(email="old@example.com")
    link = reset_link(user)
    refused = client.post(link, {"new_password": password})
    assert refused.status_code == 400
    assert re.search(r'<div class="bad" id="id_new_password_error" role="alert"><p>[^<]', refused.text)
    assert password not in refused.text or not password
    assert client.post(link, form).status_code == 200


# --- Health ---


def test_healthz_says_that_the_process_lives_whatever_its_database_does(client):
    """This test has no database at all."""
    response = client.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.django_db
def test_readyz_says_that_the_database_answers(client, settings):
    settings.REDIS_URL = ""
    response = client.get("/readyz")
    assert (response.status_code, response.json()) == (200, {"status": "ok", "failing": []})


@pytest.mark.django_db
def test_readyz_names_a_redis_that_does_not_answer_and_keeps_its_secret(client, settings, caplog):
    """G4"""
    settings.REDIS_URL = f"redis://:open-sesame@127.0.0.1:{free_port()}/0"
    response = client.get("/readyz")
    assert (response.status_code, response.json()) == (503, {"status": "unavailable", "failing": ["redis"]})
    assert "Redis does not answer" in caplog.text
    assert "open-sesame" not in caplog.text


def test_readyz_names_a_database_that_does_not_answer(client, settings, monkeypatch):
    def refuse():
        raise OperationalError("could not connect to server at 10.0.0.7")

    settings.REDIS_URL = ""
    monkeypatch.setattr(connection, "cursor", refuse)
    response = client.get("/readyz")
    assert (response.status_code, response.json()) == (503, {"status": "unavailable", "failing": ["database"]})
