"""What every answer tells a browser, which hosts and schemes are answered, and which sites may call."""

from ipaddress import ip_network

import pytest
from django.http import HttpRequest
from django.test import Client

from config.tests.live import OVER_TLS, PRODUCTION
from config.tests.starts import RANDOM_KEYS, settings_of
from users.tests.factories import PASSWORD, make_user

APP = "https://app.example.com"
ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
API_POLICY = "default-src 'none'; frame-ancestors 'none'"
PAGES = ["/", "/redoc/", "/swagger/", "/swagger/?script=", "/admin/login/", "/nothing", "/favicon.ico", "/admin"]
STATIC = ["/static/pages/page.css", "/static/pages/icon.svg", "/static/docs/redoc.js", "/static/none.js"]
PROBES = ["/healthz", "/readyz"]
API = ["/api/schema/", "/auth/o/", "/auth/o/none/", "/api/nothing/", "/auth/users/me/", "/api/referral-code"]
EVERYWHERE = [*PAGES, *STATIC, *PROBES, *API]

pytestmark = pytest.mark.django_db


@pytest.fixture
def production(settings) -> Client:
    """A client that comes through a proxy to a service in production."""
    at_start = settings_of(RANDOM_KEYS | PRODUCTION | {"EMAIL_FILE_PATH": "sent_emails", "CORS_ORIGINS": APP})
    for name in (
        *("PRODUCTION", "PUBLIC_URL", "ALLOWED_HOSTS", "TRUSTED_PROXIES", "MIDDLEWARE", "CSRF_TRUSTED_ORIGINS"),
        *("SECURE_HSTS_SECONDS", "SESSION_COOKIE_NAME", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_NAME"),
        *("CSRF_COOKIE_SECURE", "CORS_ALLOWED_ORIGINS"),
    ):
        setattr(settings, name, at_start[name])
    return Client(headers=OVER_TLS, raise_request_exception=False)


def test_every_answer_tells_browsers_what_it_may_do(client):
    """H1, H5: outside of production all but that everything is to be asked over TLS."""
    for path in EVERYWHERE:
        response = client.get(path)
        assert {name: response[name] for name in ALWAYS} == ALWAYS, path
        assert "Strict-Transport-Security" not in response
        assert response["Server"] == ""
        kind = response.get("Content-Type", "")
        if kind.startswith("text/"):  # JSON is UTF-8 and nothing else: RFC 8259, 8.1 and 11
            assert "charset=utf-8" in kind.replace('"', ""), path


def test_every_answer_has_a_content_security_policy_with_nothing_unsafe(client):
    """H1, H2"""
    for path in API:
        response = client.get(path)
        assert (response["Content-Security-Policy"], response["Cache-Control"]) == (API_POLICY, "no-store"), path
    for path in (*PAGES, *STATIC, *PROBES):
        response = client.get(path)
        assert "camera=()" in response["Permissions-Policy"], path
        policy = response["Content-Security-Policy"]
        assert "unsafe" not in policy, path
        assert {"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"} <= set(policy.split("; ")), path


def test_in_production_every_answer_asks_for_tls_from_now_on(production):
    """H1"""
    for path in EVERYWHERE:
        response = production.get(path)
        assert response["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains", path
        assert {name: response[name] for name in ALWAYS} == ALWAYS, path


def test_an_error_of_ours_has_the_same_headers_and_says_nothing_of_itself(production, monkeypatch):
    """H1, H8, G2"""

    def fail(request: HttpRequest) -> None:
        raise RuntimeError("the inside of things")

    monkeypatch.setattr("config.pages.NoNulMiddleware.__call__", lambda self, request: fail(request))
    for path, shape in (("/api/nothing/", "problem"), ("/auth/users/me/", "problem"), ("/", "page"), ("/a/b", "page")):
        response = production.get(path)
        assert response.status_code == 500
        assert response["Strict-Transport-Security"]
        assert ("script-src" in response["Content-Security-Policy"]) is (shape == "page")
        assert "inside" not in response.text
        assert "RuntimeError" not in response.text
        if shape == "problem":
            assert list(response.json()) == ["type", "title", "status", "detail", "code", "request_id"]


def test_what_is_not_there_looks_the_same_wherever_it_is_not(client):
    """H8"""
    paths = [
        "/x",
        "/x.php",
        "/.env",
        "/admin-old/",
        "/static/none",
        "/redoc/x",
        "/%2e%2e/etc",
        "/wp-login.php",
        "/" + "x" * 3000,
    ]
    pages = [client.get(path) for path in paths]
    assert {page.status_code for page in pages} == {404}
    assert len({page.text.replace(page["X-Request-ID"], "") for page in pages}) == 1
    problems = [client.get(f"{prefix}{path}") for prefix in ("/api", "/auth") for path in paths]
    assert {problem.status_code for problem in problems} == {404}
    assert len({str(problem.json() | {"request_id": ""}) for problem in problems}) == 1


# --- Hosts ---


ELSEWHERE = [
    {"Host": "evil.example.com"},
    {"Host": "refer.example.com.evil.com"},
    {"Host": "evil.com#refer.example.com"},
    {"Host": "refer.example.com,evil.example.com"},
    {"Host": "refer.example.com@evil.example.com"},
    {"Host": "refer.example.com:80:80"},
    {"Host": ""},
    {"X-Forwarded-Host": "evil.example.com"},
    {"X-Forwarded-Host": "refer.example.com, evil.example.com"},
    {"X-Forwarded-Host": "evil.example.com:443"},
    {"X-Forwarded-Host": "*"},
]


def test_another_host_than_ours_is_answered_nothing(production):
    """H6"""
    for headers in ELSEWHERE:
        for path in ("/", "/static/pages/page.css", "/nothing", "/admin/login/"):
            response = production.get(path, headers=OVER_TLS | headers)
            assert (response.status_code, response["Content-Type"]) == (400, "text/html; charset=utf-8"), headers
            assert "evil" not in response.text
        response = production.get("/auth/o/", headers=OVER_TLS | headers | {"Accept-Language": "ru"})
        assert (response.status_code, response["Content-Type"]) == (400, "application/problem+json"), headers
        assert response.json()["code"] == "bad_request"
        assert response.json()["title"] == "Неверный запрос"


def test_a_proxy_may_name_the_host_that_is_ours_and_it_means_nothing(production):
    """H6"""
    for named in ("refer.example.com", "REFER.example.com:443", "refer.example.com, refer.example.com"):
        assert production.get("/auth/o/", headers={"X-Forwarded-Host": named}).status_code == 200


def test_probes_come_to_the_port_itself_by_any_name_and_in_the_clear(production):
    """H6: those who look after the service reach it past the proxy."""
    probe = Client()
    for path in PROBES:
        for host in ("10.1.2.3:8000", "web", ""):
            response = probe.get(path, headers={"Host": host})
            assert response.status_code == 200
            assert "Strict-Transport-Security" not in response


# --- Schemes ---


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        ("127.0.0.1", {}),
        ("127.0.0.1", {"X-Forwarded-Proto": "http"}),
        ("127.0.0.1", {"X-Forwarded-Proto": "https,http"}),
        ("127.0.0.1", {"X-Forwarded-Proto": "HTTPS"}),
        ("127.0.0.1", {"Forwarded": "proto=https", "X-Forwarded-Ssl": "on", "Front-End-Https": "on"}),
        ("203.0.113.7", {"X-Forwarded-Proto": "https"}),
        ("", {"X-Forwarded-Proto": "https"}),
    ],
)
def test_in_the_clear_pages_lead_to_tls_and_the_api_refuses(production, peer, headers):
    """H1, T2"""
    plain = Client(REMOTE_ADDR=peer, headers={"Host": "refer.example.com"} | headers)
    response = plain.get("/redoc/?a=b")
    assert (response.status_code, response["Location"]) == (301, "https://refer.example.com/redoc/?a=b")
    assert "Strict-Transport-Security" not in response  # RFC 6797, 7.2
    body = {"username": "ada", "password": PASSWORD}
    response = plain.post("/auth/jwt/create/", body, content_type="application/json")
    assert (response.status_code, response.json()["code"]) == (403, "https_required")
    assert response["Content-Security-Policy"] == API_POLICY


def test_outside_of_production_the_api_is_answered_in_the_clear(client):
    """H1"""
    assert client.get("/auth/o/").status_code == 200


def test_the_scheme_of_a_trusted_proxy_is_that_of_links_too(production, settings):
    """T2"""
    settings.TRUSTED_PROXIES = [ip_network("10.0.0.0/8")]
    from_proxy = Client(REMOTE_ADDR="::ffff:10.0.0.1", headers=OVER_TLS)
    assert from_proxy.get("/auth/o/").status_code == 200


# --- Cookies ---


def test_cookies_are_for_this_host_only(production):
    """H4"""
    make_user(username="ada", email="ada@example.com", is_staff=True)
    form = production.get("/admin/login/")
    token = form.context["csrf_token"]
    login = {"username": "ada@example.com", "password": PASSWORD, "csrfmiddlewaretoken": str(token)}
    signed_in = production.post("/admin/login/?next=/admin/", login, headers={"Referer": "https://refer.example.com/"})
    assert signed_in.status_code == 302
    start = production.get("/auth/o/github/", {"redirect_uri": "https://app.example.com/back"})
    assert start.status_code == 200
    for cookies, name in (
        (form.cookies, "__Host-csrftoken"),
        (signed_in.cookies, "__Host-sessionid"),
        (start.cookies, "__Host-sessionid"),
    ):
        cookie = cookies[name]
        assert (cookie["secure"], cookie["httponly"], cookie["samesite"]) == (True, True, "Lax")
        assert (cookie["path"], cookie["domain"]) == ("/", "")
        assert all(name.startswith("__Host-") for name in cookies)


def test_at_home_cookies_need_no_tls(client):
    """H4: a browser takes no `__Host-` cookie from http://127.0.0.1."""
    client.get("/admin/login/")
    client.get("/auth/o/github/", {"redirect_uri": "https://app.example.com/back"})
    assert client.cookies.keys() == {"csrftoken", "sessionid"}
    assert all(cookie["httponly"] and not cookie["secure"] for cookie in client.cookies.values())


# --- Pages of other sites ---


def test_a_page_of_a_listed_site_may_ask_and_read(production):
    """H3"""
    preflight = production.options(
        "/auth/users/me/",
        headers={
            "Origin": APP,
            "Access-Control-Request-Method": "PATCH",
            "Access-Control-Request-Headers": "authorization,content-type",
        },
    )
    assert preflight.status_code == 200
    assert preflight["Access-Control-Allow-Origin"] == APP
    assert "PATCH" in preflight["Access-Control-Allow-Methods"]
    assert {"authorization", "content-type"} <= set(preflight["Access-Control-Allow-Headers"].split(", "))
    assert preflight["Content-Security-Policy"] == API_POLICY
    make_user(username="ada", email="ada@example.com")
    answers = [
        production.post(
            "/auth/jwt/create/",
            {"username": "ada", "password": password},
            content_type="application/json",
            headers={"Origin": APP, "Sec-Fetch-Site": "cross-site"},
        )
        for password in (PASSWORD, "wrong")
    ]
    assert [answer.status_code for answer in answers] == [200, 401]
    for answer in answers:
        assert answer["Access-Control-Allow-Origin"] == APP
        assert set(answer["Access-Control-Expose-Headers"].split(", ")) == {"Retry-After", "X-Request-ID"}
        assert "origin" in answer["Vary"].lower()
        assert "Access-Control-Allow-Credentials" not in answer


STRANGERS = [
    "null",
    "https://evil.example.com",
    "http://app.example.com",
    "https://app.example.com:8443",
    "https://app.example.com.evil.com",
    "https://evil-app.example.com",
    "https://xapp.example.com",
    "https://app.example.com@evil.com",
    "https://APP.example.com.",
    "*",
    "https://[::1",
    "/auth/jwt/create/",
]


def test_a_page_of_any_other_site_may_not(production):
    """H3"""
    for origin in STRANGERS:
        for path in ("/auth/jwt/create/", "/api/referral-code/NONE/"):
            for response in (
                production.options(path, headers={"Origin": origin, "Access-Control-Request-Method": "POST"}),
                production.get(path, headers={"Origin": origin}),
            ):
                assert not [name for name in response.headers if name.startswith("Access-Control-")], origin
        written = production.post(
            "/auth/jwt/create/",
            {"username": "ada", "password": "x"},
            content_type="application/json",
            headers={"Origin": origin, "Sec-Fetch-Site": "cross-site"},
        )
        assert (written.status_code, written.json()["code"]) == (403, "permission_denied"), origin


def test_pages_are_for_no_other_site_and_by_default_nothing_is(production, client):
    """H3"""
    for path in ("/", "/admin/login/", "/healthz", "/static/pages/page.css"):
        assert "Access-Control-Allow-Origin" not in production.get(path, headers={"Origin": APP})
    by_default = settings_of(RANDOM_KEYS)
    assert by_default["CORS_ALLOWED_ORIGINS"] == []
    assert "corsheaders.middleware.CorsMiddleware" not in by_default["MIDDLEWARE"]
