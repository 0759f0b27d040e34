"""Which addresses there are: these and no others. A new one is added here by hand, and thought about on the way."""

import re

import pytest
from django.urls import URLPattern, get_resolver, path

from config.tests.operations import OPERATIONS, schema
from users.tests.factories import PASSWORD, make_user

ROUTES = """
GET               /
POST              /auth/users/
DELETE GET PATCH  /auth/users/me/
GET               /auth/users/me/export/
POST              /auth/users/activation/
POST              /auth/users/resend_activation/
POST              /auth/users/set_password/
POST              /auth/users/reset_password/
POST              /auth/users/reset_password_confirm/
POST              /auth/users/set_email/
POST              /auth/users/set_email_confirm/
POST              /auth/users/keep_email/
POST              /auth/jwt/create/
POST              /auth/jwt/refresh/
POST              /auth/jwt/verify/
POST              /auth/jwt/logout/
POST              /auth/jwt/logout_all/
GET               /auth/o/
GET POST          /auth/o/<slug:provider>/
GET POST PUT      /account/activate/<uid>/<token>/
GET POST PUT      /account/reset-password/<uid>/<token>/
GET POST PUT      /account/change-email/<uid>/<token>/
GET POST PUT      /account/keep-email/<uid>/<token>/
DELETE GET POST   /api/referral-code/
GET POST          /api/referral-code/email/
GET               /api/referral-code/qr/
GET               /api/referral-code/(?P<code>[^/]+)/
POST              /api/register-with-referral/
POST              /api/referrals/claim/
GET               /api/referrals/(?P<pk>0|[1-9][0-9]{0,18})/
GET               /api/referrals/(?P<pk>0|[1-9][0-9]{0,18})/summary/
current_code      /r/current
share_page        /r/<str:code>
GET               /api/schema/
GET               /redoc/
GET               /swagger/
the admin's own   /admin/
DELETE GET PATCH POST PUT  /favicon.ico
healthz           /healthz
readyz            /readyz
metrics           /metrics
"""


def routes(patterns, prefix="/"):
    """Each route with its methods, or with the name of its function where that is all there is to know."""
    for pattern in patterns:
        where = prefix + str(pattern.pattern).removeprefix("^").removesuffix("$")
        if where == "/admin/":
            yield f"the admin's own {where}"
        elif isinstance(pattern, URLPattern):
            yield f"{methods_of(pattern.callback)} {where}"
        else:
            yield from routes(pattern.url_patterns, where)


def methods_of(view):
    if actions := getattr(view, "actions", None):
        return " ".join(sorted(method.upper() for method in actions if method != "head"))
    if view_class := getattr(view, "view_class", None):
        known = ("get", "post", "put", "patch", "delete", "trace")
        return " ".join(sorted(method.upper() for method in known if hasattr(view_class, method)))
    return view.__name__


def listed(text):
    return sorted(" ".join(line.split()) for line in text.strip().splitlines())


def test_there_are_just_the_routes_that_are_listed():
    """Z9"""
    assert sorted(routes(get_resolver().url_patterns)) == listed(ROUTES)


def test_a_route_that_is_not_listed_is_seen():
    """The check of the check."""
    new = path("new/", lambda request: None)
    assert listed(ROUTES) != sorted(routes([*get_resolver().url_patterns, new]))


def test_the_schema_has_every_operation_of_the_api_and_no_other():
    """Z9, G6"""
    known = {tuple(route.rsplit(" ", 1)) for route in routes(get_resolver().url_patterns)}
    routed = {f"{method} {shown(where)}" for methods, where in known for method in methods.split()}
    documented = {f"{operation.method} {shown(operation.path)}" for operation in OPERATIONS}
    assert {route for route in routed if " /auth/" in route or " /api/" in route} - {"GET /api/schema/"} == documented
    assert not [where for where in schema()["paths"] if not where.startswith(("/auth/", "/api/"))]


def shown(where):
    """A path with its parameters left blank."""
    return re.sub(r"\{\w+\}|<slug:\w+>|\(\?P<\w+>[^)]*\)", "{}", where)


NOWHERE = """
    POST /auth/jwt/createXYZ            POST /auth/jwt/createXYZ/         POST /auth/jwt/create/x/
    POST /auth/jwt/create               POST /auth/jwt/create.json        POST /auth/jwt/create.json/
    POST /auth/jwt/                     POST /auth/jwt/destroy/           POST /auth/token/login/
    POST /auth/token/logout/            GET /auth/users/1/                PUT /auth/users/1/
    PATCH /auth/users/1/                DELETE /auth/users/1/             GET /auth/users/1.json
    POST /auth/users/set_username/      POST /auth/users/reset_username/  POST /auth/users/reset_username_confirm/
    GET /auth/users.json                GET /auth/users/me.json           GET /auth/
    GET /auth/o/a/b/                    POST /auth/o/a/b/                 GET /auth/o/unknown/
    GET /api/                           GET /api/referral-code.json       POST /api/referral-code.json
    GET /api/referrals/                 POST /api/referrals/              GET /api/referrals/1.json
    GET /api/referrals/1/summary.json   GET /api/register-with-referral.json
    GET /api/users/                     GET /api/schema.json              GET /api/schema/x/
    GET /api/referral-code/a/b/         GET /api/v1/referral-code/        GET /api/docs/
    GET /r/                             GET /r/a/b                        GET /r/a/
    GET /swagger.json                   GET /docs/                        GET /api-auth/login/
    GET /account/                       GET /account/activate/a/          POST /account/activate/a/b/c/
    GET /.env                           GET /static/                      GET /static/../.env
    GET /static/%2e%2e/manage.py        GET /media/                       GET /debug/
    GET /metrics                        GET /healthz/                     GET /sent_emails/
"""
NOT_SO = """
    GET /auth/users/                    PUT /auth/users/                  DELETE /auth/users/
    PUT /auth/users/me/                 POST /auth/users/me/              GET /auth/jwt/create/
    DELETE /auth/jwt/refresh/           GET /auth/users/activation/       PATCH /api/referral-code/
    PUT /api/referral-code/             DELETE /api/referral-code/email/  POST /api/referral-code/X/
    DELETE /api/referral-code/X/        GET /api/register-with-referral/  POST /api/schema/
    POST /redoc/                        DELETE /r/X                       POST /
    HEAD /api/referral-code/email/      DELETE /account/activate/a/b/
"""


def requests_in(text):
    words = text.split()
    return list(zip(words[::2], words[1::2], strict=True))


@pytest.mark.django_db
@pytest.mark.parametrize(("text", "status"), [(NOWHERE, 404), (NOT_SO, 405)], ids=["nowhere", "not so"])
def test_what_looks_like_a_route_and_is_none_is_refused(text, status, as_user):
    """Z9, L7, L14"""
    user = make_user()
    client = as_user(user)
    login = {"email": user.email, "password": PASSWORD}
    for method, url in requests_in(text):
        response = client.generic(method, url.replace("/1", f"/{user.pk}"), b"", content_type="")
        if response.status_code == 301:
            response = client.get(response["Location"])
        assert response.status_code == status, (method, url)
        if method == "POST" and status == 404:
            assert client.post(url, login).status_code == 404, url
        if status == 405:
            assert method not in response["Allow"].split(", "), (method, url)


@pytest.mark.django_db
@pytest.mark.parametrize("user", [None, "plain", "boss"])
def test_there_is_no_page_to_browse_the_api_with(user, api, as_user):
    """Z9"""
    client = as_user(make_user(is_staff=user == "boss", is_superuser=user == "boss")) if user else api
    for where in ("/auth/users/me/", "/api/referral-code/"):
        assert client.get(where, HTTP_ACCEPT="text/html").status_code == 406
        assert "html" not in client.get(where, HTTP_ACCEPT="text/html, */*")["Content-Type"]
