"""What pages need and the API is spared: sessions, accounts, messages, files, and tokens against forged forms."""

import json

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext

from config import pages
from referrals.tests.factories import make_code
from users.tests.factories import PASSWORD, make_user
from users.tests.providers import BACK
from users.tokens import RefreshToken

pytestmark = pytest.mark.django_db

SIGN_UP = {"email": "ada@example.com", "password": PASSWORD}


def browser_of_staff() -> Client:
    """With a session, and with a token against forged forms that is none: Django would make it another."""
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(make_user(is_staff=True, is_superuser=True))
    browser.cookies["csrftoken"] = "broken"
    return browser


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/referral-code/{code}/", None, 200),
        ("GET", "/auth/users/me/", None, 401),
        ("GET", "/api/nothing/", None, 404),
        ("GET", "/api/schema/", None, 200),
        ("PUT", "/auth/users/", SIGN_UP, 405),
        ("POST", "/auth/users/", SIGN_UP, 201),
        ("POST", "/auth/jwt/create/", SIGN_UP, 401),
        ("POST", "/api/register-with-referral/", SIGN_UP | {"referral_code": "{code}"}, 400),
        ("DELETE", "/api/referral-code/", None, 401),
    ],
)
def test_the_api_neither_knows_nor_sets_a_cookie(method, path, body, status):
    """A session of the admin lets nobody in, is not even looked for, and no form of a page is needed."""
    browser, code = browser_of_staff(), make_code().code
    with CaptureQueriesContext(connection) as seen:
        response = browser.generic(method, path.format(code=code), as_json(body), "application/json")
    assert (response.status_code, response.cookies) == (status, {})
    assert "Cookie" not in response.get("Vary", "")
    assert not [query for query in seen if "django_session" in query["sql"]]


def as_json(body: dict | None) -> str:
    return json.dumps(body) if body else ""


def test_who_has_a_token_is_who_it_says_whatever_session_comes_with_it():
    browser, user = browser_of_staff(), make_user()
    token = RefreshToken.for_user(user).access_token
    shown = browser.get("/auth/users/me/", headers={"Authorization": f"Bearer {token}"})
    assert (shown.json()["id"], shown.cookies) == (user.pk, {})


def test_only_who_leaves_for_a_provider_gets_a_session():
    browser = Client(enforce_csrf_checks=True)
    browser.get("/auth/o/")
    assert not Session.objects.exists()
    assert browser.get("/auth/o/github/", {"redirect_uri": BACK}).cookies.keys() == {"sessionid"}
    assert Session.objects.count() == 1


@pytest.mark.parametrize(
    ("path", "has_session"), [("/", True), ("/auth/o/github/", True), ("/auth/users/me/", False), ("/api/", False)]
)
def test_a_session_is_there_for_pages_and_for_who_leaves_for_a_provider(path, has_session):
    request = RequestFactory().get(path)
    pages.SessionMiddleware(lambda request: HttpResponse())(request)
    assert hasattr(request, "session") is has_session


def test_pages_have_all_of_it():
    browser = browser_of_staff()
    page = browser.get("/admin/")
    assert (page.status_code, page.context["user"].is_staff) == (200, True)
    assert "script-src" in page["Content-Security-Policy"]
    assert Client().get("/admin/login/").cookies.keys() == {"csrftoken"}
    assert browser.post("/admin/logout/").status_code == 403
    assert Client(enforce_csrf_checks=True).post("/admin/login/", SIGN_UP).status_code == 403


def test_a_view_of_the_api_that_a_cookie_could_let_in_takes_no_forged_form():
    request = RequestFactory().post("/api/forgotten/", {})
    middleware = pages.CsrfMiddleware(lambda request: HttpResponse())
    assert middleware(request).status_code == 200
    assert middleware.process_view(request, lambda request: HttpResponse(), (), {}).status_code == 403


class Inner:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        return "went through"


class Outer(pages.PagesOnly, Inner):
    pass


@pytest.mark.parametrize(
    ("paths", "answer"),
    [
        (["/api/", "/auth/", "/auth/o/", "/auth/x", "/api/../admin/"], "kept out"),
        (["/", "/admin/", "/api", "/apis/", "/auth", "/r/api/", "/admin/auth/group/", "/API/"], "went through"),
    ],
)
def test_what_a_middleware_is_kept_out_of_is_told_by_how_the_path_begins(paths, answer):
    for path in paths:
        assert Outer(lambda request: "kept out")(RequestFactory().get(path)) == answer, path
