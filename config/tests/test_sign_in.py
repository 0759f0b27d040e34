"""`docs/social-login.md` does what it says: from a single-page app in a real browser, and with curl."""

import http.client
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from django.conf import settings
from playwright.sync_api import Browser, Page, expect

from config.tests.live import ROOT, Service, running_service
from users.tests.providers import Provider, honest_provider, strict_provider

pytestmark = [pytest.mark.slow, pytest.mark.interface]

OIDC = "/auth/o/oidc/"
OF_ITS_OWN = ("connection", "content-length", "transfer-encoding")  # what a proxy says for itself
numbers = count(1)


@dataclass
class Company:
    """One host with a single-page app and the service behind it, and a provider on another site."""

    url: str
    provider: Provider
    service: Service


@pytest.fixture(scope="module", params=[honest_provider, strict_provider], ids=["honest", "strict"])
def company(request) -> Iterator[Company]:
    with one_host(shown("html")) as host:
        url = f"http://127.0.0.1:{host.server_port}"
        back = f"{url}/back/oidc"
        with (
            request.param(back) as provider,
            running_service(
                OIDC_ISSUER=provider.url,
                OIDC_CLIENT_ID=settings.SOCIAL_AUTH_OIDC_KEY,
                OIDC_CLIENT_SECRET=settings.SOCIAL_AUTH_OIDC_SECRET,
                OAUTH_REDIRECT_URIS=back,
            ) as service,
        ):
            host.service = urlsplit(service.url).netloc
            yield Company(url, provider, service)


def shown(language: str) -> str:
    """The one block in a language that the page on this has."""
    [block] = re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs/social-login.md").read_text("utf-8"), re.DOTALL)
    return block


@contextmanager
def one_host(page: str) -> Iterator[Any]:
    """A proxy that hands `/auth/` and `/api/` to the service, and shows the app everywhere else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith(("/auth/", "/api/")):
                return self.answer(200, [("Content-Type", "text/html; charset=utf-8")], page.encode())
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            service = http.client.HTTPConnection(self.server.service, timeout=30)
            service.request(self.command, self.path, body, dict(self.headers))
            answer = service.getresponse()
            headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in OF_ITS_OWN]
            return self.answer(answer.status, headers, answer.read())

        def do_POST(self) -> None:
            self.do_GET()

        def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response(status)
            for name, value in [*headers, ("Content-Length", str(len(body)))]:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def window(browser: Browser, company: Company) -> Iterator[Page]:
    """A window of a fresh profile. The app complains of nothing and asks its own host only; a provider may differ."""
    context = browser.new_context(base_url=company.url, locale="en")
    page = context.new_page()
    faults = []

    def is_the_apps(url: str) -> bool:
        return url.startswith(f"{company.url}/")

    page.on("pageerror", lambda error: faults.append(str(error)) if is_the_apps(page.url) else None)
    page.on("console", lambda message: faults.append(message.text) if is_the_apps(message.location["url"]) else None)
    context.on(
        "request",
        lambda request: (
            faults.append(request.url)
            if is_the_apps(request.frame.url) and not request.is_navigation_request() and not is_the_apps(request.url)
            else None
        ),
    )
    yield page
    context.close()
    assert faults == []


@dataclass
class Referrer:
    id: int
    username: str
    code: str
    headers: dict[str, str]


def make_referrer(company: Company) -> Referrer:
    username = f"referrer{next(numbers)}"
    person = {"email": f"{username}@example.com", "password": "correct horse battery", "username": username}
    with httpx.Client(base_url=company.service.url) as api:
        account = api.post("/auth/users/", json=person).raise_for_status().json()
        access = api.post("/auth/jwt/create/", json=person).raise_for_status().json()["access"]
        headers = {"Authorization": f"Bearer {access}"}
        code = api.post("/api/referral-code/", json={"expiration_date": "2030-12-31"}, headers=headers)
    return Referrer(account["id"], username, code.raise_for_status().json()["code"], headers)


def assert_referred(company: Company, answer: dict[str, Any], referrer: Referrer, email: str) -> None:
    """The tokens are good for an account that has its referrer, and that its referrer has."""
    assert answer.keys() == {"access", "refresh", "user"}
    with httpx.Client(base_url=company.service.url) as api:
        user = api.get("/auth/users/me/", headers={"Authorization": f"Bearer {answer['access']}"}).json()
        referrals = api.get(f"/api/referrals/{referrer.id}/", headers=referrer.headers).json()["results"]
        renewed = api.post("/auth/jwt/refresh/", json={"refresh": answer["refresh"]})
    assert user == answer["user"]
    assert (user["email"], user["referrer"]) == (email, {"username": referrer.username})
    assert [(row["id"], row["code"]) for row in referrals] == [(user["id"], referrer.code)]
    assert renewed.status_code == 200


def test_a_friend_signs_in_through_the_provider_and_is_referred(browser, company):
    """O2, O11"""
    referrer, email = make_referrer(company), f"friend{next(numbers)}@example.com"
    with window(browser, company) as page:
        page.goto(f"/?referral_code={referrer.code}")
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{company.provider.url}/**")
        assert referrer.code not in page.url
        [cookie] = page.context.cookies(company.url)
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
        company.provider.fill_in(page, email)
        expect(page.locator("pre")).to_contain_text("refresh")
        assert page.url == f"{company.url}/back/oidc"
        answer = json.loads(page.locator("pre").inner_text())
    assert_referred(company, answer, referrer, email)


def test_who_signs_in_again_is_the_same_person(browser, company):
    """O4"""
    email, seen = f"friend{next(numbers)}@example.com", []
    for _time in range(2):
        with window(browser, company) as page:
            page.goto("/")
            page.get_by_role("button", name="Sign in").click()
            company.provider.fill_in(page, email)
            expect(page.locator("pre")).to_contain_text("refresh")
            seen.append(json.loads(page.locator("pre").inner_text())["user"])
    assert seen[0] == seen[1]
    assert seen[0]["referrer"] is None


def test_who_refuses_at_the_provider_is_back_and_not_signed_in(browser, company):
    with window(browser, company) as page:
        page.goto("/")
        page.get_by_role("button", name="Sign in").click()
        company.provider.turn_away(page)
        expect(page.locator("pre")).to_have_text("Nobody was signed in.")


def test_a_friend_signs_in_with_curl_and_is_referred(company, tmp_path):
    referrer, email = make_referrer(company), f"friend{next(numbers)}@example.com"
    commands = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", shown("sh")],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "URL": company.service.url,
            "BACK": f"{company.url}/back/oidc",
            "CODE": referrer.code,
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    authorization_url = json.loads(commands.stdout.readline())["authorization_url"]
    address = company.provider.address_after(authorization_url, email)
    answer, _errors = commands.communicate(f"{address}\n", timeout=60)
    assert commands.returncode == 0
    assert_referred(company, json.loads(answer), referrer, email)
