"""Errors: a problem under the API and a page elsewhere, wherever they come from, and nothing said of what is inside."""

import errno
import logging
import re
import sqlite3

import psycopg
import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import DatabaseError, IntegrityError, InterfaceError, InternalError, OperationalError
from django.http import Http404
from django.urls import path
from rest_framework import exceptions
from rest_framework.test import APIClient
from rest_framework.views import APIView

from config import urls
from config.api.context import ContextFilter
from config.api.problems import problem_of
from config.logs import TextLines
from config.urls import handler400, handler403, handler404, handler500  # noqa: F401 (Django looks for them here)

pytestmark = pytest.mark.django_db

SECRET = "SELECT hunter2 FROM /srv/service.py"


def caused(error: Exception, cause: Exception) -> Exception:
    """What Django makes of a driver's exception."""
    error.__cause__ = cause
    return error


RAISED = {
    "absent": (Http404(SECRET), 404, "not_found"),
    "forbidden": (PermissionDenied(SECRET), 403, "permission_denied"),
    "suspicious": (SuspiciousOperation(SECRET), 400, "bad_request"),
    "broken": (RuntimeError(SECRET), 500, "error"),
    "out of memory": (MemoryError(SECRET), 503, "service_unavailable"),
    "out of files": (OSError(errno.EMFILE, SECRET), 503, "service_unavailable"),
    "no such file": (OSError(errno.ENOENT, SECRET), 500, "error"),
    "away": (OperationalError(SECRET), 503, "service_unavailable"),
    "cut": (InterfaceError(SECRET), 503, "service_unavailable"),
    "unreadable": (caused(DatabaseError(SECRET), sqlite3.DatabaseError(SECRET)), 503, "service_unavailable"),
    "broken off": (caused(DatabaseError(SECRET), psycopg.DatabaseError(SECRET)), 503, "service_unavailable"),
    "a standby": (caused(InternalError(SECRET), psycopg.errors.ReadOnlySqlTransaction()), 503, "service_unavailable"),
    "aborted": (caused(InternalError(SECRET), psycopg.errors.InFailedSqlTransaction()), 500, "error"),
    "not updated": (DatabaseError(SECRET), 500, "error"),
    "contradicted": (IntegrityError(SECRET), 500, "error"),
}
JSON, SIGN_UP, ME = "application/json", "/auth/users/", "/auth/users/me/"
KINDS = ["/api/view", "/auth/view", "/api/plain"]


class RaisingView(APIView):
    permission_classes = ()

    def get(self, request, name):
        raise RAISED[name][0]


class ThrottledView(APIView):
    permission_classes = ()

    def get(self, request):
        raise exceptions.Throttled(wait=2.1)


def plain_view(request, name):
    raise RAISED[name][0]


urlpatterns = [
    path("api/throttled/", ThrottledView.as_view()),
    path("api/view/<name>/", RaisingView.as_view()),
    path("auth/view/<name>/", RaisingView.as_view()),
    path("api/plain/<name>/", plain_view),
    path("plain/<name>/", plain_view),
    *urls.urlpatterns,
]


@pytest.fixture
def raising(settings) -> APIClient:
    """A client of a service some views of which raise what they are told to."""
    settings.ROOT_URLCONF = __name__
    return APIClient(raise_request_exception=False)


def assert_is_problem(response, status: int, code: str) -> dict:
    assert (response.status_code, response["Content-Type"]) == (status, "application/problem+json")
    body = response.json()
    assert {name: body[name] for name in ("type", "status", "code")} == {
        "type": "about:blank",
        "status": status,
        "code": code,
    }
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == response["X-Request-ID"]
    assert re.fullmatch("[0-9a-f]{32}", body["request_id"])
    assert response["Cache-Control"] == "no-store"
    return body


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", RAISED)
def test_what_a_view_raises_under_the_api_is_a_problem_that_says_nothing_of_it(raising, kind, name):
    """G2, H8"""
    _raised, status, code = RAISED[name]
    response = raising.get(f"{kind}/{name}/")
    assert_is_problem(response, status, code)
    assert not [word for word in ("hunter2", "SELECT", "/srv", "Traceback", "RuntimeError") if word in response.text]


@pytest.mark.parametrize("name", RAISED)
def test_what_a_view_raises_elsewhere_is_a_page_that_says_nothing_of_it(raising, name):
    """G2, H8"""
    response = raising.get(f"/plain/{name}/")
    assert (response.status_code, response["Content-Type"]) == (RAISED[name][1], "text/html; charset=utf-8")
    assert response["X-Request-ID"] in response.text
    assert not [word for word in ("hunter2", "SELECT", "/srv", "Traceback", "RuntimeError") if word in response.text]


def test_a_throttled_call_says_in_whole_seconds_when_to_come_back(raising):
    """T7"""
    response = raising.get("/api/throttled/")
    assert_is_problem(response, 429, "throttled")
    assert response["Retry-After"] == "3"


def test_the_id_of_a_request_is_in_its_answer_its_problem_and_its_log_lines(raising, caplog):
    responses = [raising.get("/api/view/broken/", headers={"X-Request-ID": "mine\x1b[31m"}) for _time in range(2)]
    ids = [assert_is_problem(response, 500, "error")["request_id"] for response in responses]
    lines = [record for record in caplog.records if record.name == "django.request"]
    assert len(set(ids)) == 2
    assert [record.request_id for record in lines] == ids
    line = TextLines().format(lines[0])
    assert f"django.request [{ids[0]}] Internal Server Error: /api/view/broken/" in line
    assert "RuntimeError" in line  # here, and only here, is what happened


def test_a_line_of_no_request_has_no_id():
    record = logging.LogRecord("x", logging.INFO, "", 0, "Hello", None, None)
    assert ContextFilter().filter(record)
    assert record.request_id == "-"


@pytest.mark.parametrize(
    ("method", "target", "content_type", "body", "headers", "status", "code"),
    [
        ("GET", "/api/nothing/", "", "", {}, 404, "not_found"),
        ("GET", "/auth/nothing/", "", "", {}, 404, "not_found"),
        ("GET", "/api/", "", "", {}, 404, "not_found"),
        ("POST", "/auth/users", JSON, "{}", {}, 404, "not_found"),
        ("PUT", SIGN_UP, JSON, "{}", {}, 405, "method_not_allowed"),
        ("OPTIONS", SIGN_UP, "", "", {}, 405, "method_not_allowed"),
        ("GET", ME, "", "", {}, 401, "not_authenticated"),
        ("POST", SIGN_UP, JSON, "{}", {"Accept": "text/html"}, 406, "not_acceptable"),
        ("POST", SIGN_UP, "text/plain", "{}", {}, 415, "unsupported_media_type"),
        ("POST", SIGN_UP, f"{JSON}; charset=utf-16", "{}", {}, 415, "unsupported_media_type"),
        ("POST", SIGN_UP, JSON, "{", {}, 400, "parse_error"),
        ("POST", SIGN_UP, JSON, "", {}, 400, "parse_error"),
        ("POST", SIGN_UP, JSON, "{}", {}, 400, "invalid"),
        ("POST", SIGN_UP, JSON, "x" * 65_537, {}, 413, "content_too_large"),
        ("POST", "/api/nothing/", "text/plain", "x" * 65_537, {}, 413, "content_too_large"),
        ("GET", ME, "", "", {"Host": "evil.example"}, 400, "bad_request"),
    ],
)
def test_what_is_refused_before_it_reaches_a_view_is_a_problem_too(
    api, method, target, content_type, body, headers, status, code
):
    """G2, B2, B3, B7, B13, H6"""
    response = api.generic(method, target, body, content_type, headers=headers)
    assert_is_problem(response, status, code)
    if status == 405:
        assert "POST" in response["Allow"]


@pytest.mark.parametrize(("target", "status"), [("/nothing/", 404), ("/admin/", 400), ("/account/nothing/", 404)])
def test_outside_the_api_it_is_a_page(client, target, status):
    """H8"""
    response = client.get(target, headers={"Host": "evil.example"} if status == 400 else {})
    assert (response.status_code, response["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert response["X-Request-ID"] in response.text


def test_a_post_without_its_slash_is_told_the_right_path(api):
    """B13, L25"""
    detail = api.post("/auth/jwt/create", {}).json()["detail"]
    assert "/auth/jwt/create/" in detail
    assert "/auth/nothing/" not in api.post("/auth/nothing", {}).json()["detail"]


@pytest.mark.parametrize(
    ("detail", "errors"),
    [
        ("no", [(None, "invalid", "no")]),
        ({"email": ["no", "never"]}, [("email", "invalid", "no"), ("email", "invalid", "never")]),
        ({"owner": {"email": ["no"]}}, [("owner.email", "invalid", "no")]),
        ({"non_field_errors": ["no"]}, [(None, "invalid", "no")]),
        ({"owner": {"non_field_errors": ["no"]}}, [("owner", "invalid", "no")]),
        ({"codes": [{}, {"code": ["no"]}]}, [("codes.code", "invalid", "no")]),
    ],
)
def test_each_fault_of_a_field_is_told_with_its_path(detail, errors):
    problem = problem_of(exceptions.ValidationError(detail))
    assert [(error["field"], error["code"], error["detail"]) for error in problem["errors"]] == errors
    assert (problem["detail"] == "no") is (len(errors) == 1)
    assert problem["code"] == "invalid"
