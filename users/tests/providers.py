"""Providers to sign in with: an honest one and a strict one, each a process, and one that does what it is told."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from django.conf import settings
from jwt.algorithms import RSAAlgorithm
from playwright.sync_api import Page

from config.tests.live import ROOT, free_port

BACK = "https://app.example.com/back"


@dataclass
class Provider(ABC):
    """An OpenID Connect provider in a process of its own, with a person at its login page.

    To a browser it is another site than 127.0.0.1, where the service and its clients are.
    """

    url: str

    def sign_in(self, authorization_url: str, sub: str) -> dict[str, str]:
        """Let `sub` agree; return what the provider puts into the address that it sends them back to."""
        return query_of(self.address_after(authorization_url, sub))

    @abstractmethod
    def address_after(self, authorization_url: str, sub: str) -> str:
        """Let `sub` agree; return the whole address."""

    @abstractmethod
    def fill_in(self, page: Page, sub: str) -> None:
        """Let `sub` agree, in a browser that shows the login page."""

    @abstractmethod
    def turn_away(self, page: Page) -> None:
        """Refuse, in a browser that shows the login page."""


class HonestProvider(Provider):
    """Who signs in as a `sub` that it was told nothing about has that for an address."""

    def knows(self, sub: str, **claims: Any) -> None:
        httpx.put(f"{self.url}/users/{sub}", json=claims).raise_for_status()

    def address_after(self, authorization_url: str, sub: str) -> str:
        return httpx.post(authorization_url, data={"sub": sub}).headers["location"]

    def fill_in(self, page: Page, sub: str) -> None:
        page.get_by_placeholder("sub").fill(sub)
        page.get_by_role("button", name="Authorize").click()

    def turn_away(self, page: Page) -> None:
        page.get_by_role("button", name="Deny").click()


class StrictProvider(Provider):
    """Everybody's `sub` is their address. What it asks of a client is in `.ci/strict_provider.mjs`."""

    def address_after(self, authorization_url: str, sub: str) -> str:
        with httpx.Client() as browser:
            page = self._follow(browser, browser.get(authorization_url))
            for form in ({"prompt": "login", "login": sub, "password": "any"}, {"prompt": "consent"}):
                page = self._follow(browser, browser.post(page.url, data=form))
            return page.headers["location"]

    def _follow(self, browser: httpx.Client, page: httpx.Response) -> httpx.Response:
        """Go where it sends the browser, as long as that is on the provider."""
        while page.next_request and str(page.next_request.url).startswith(f"{self.url}/"):
            page = browser.send(page.next_request)
        return page

    def fill_in(self, page: Page, sub: str) -> None:
        page.get_by_placeholder("Enter any login").fill(sub)
        page.get_by_placeholder("and password").fill("any")
        page.get_by_role("button", name="Sign-in").click()
        page.get_by_role("button", name="Continue").click()

    def turn_away(self, page: Page) -> None:
        page.get_by_role("link", name="Cancel").click()


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


@contextmanager
def honest_provider(redirect_uri: str = BACK) -> Iterator[HonestProvider]:
    """It takes any `redirect_uri`, any client and any secret, and does not look at a challenge."""
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--host", "127.0.0.1", "--port", str(port)]
    provider = HonestProvider(f"http://localhost:{port}")
    with _running(command, provider, os.environ):
        yield provider


@contextmanager
def strict_provider(redirect_uri: str = BACK) -> Iterator[StrictProvider]:
    """It knows one client, that of `config.tests.settings`, with one `redirect_uri`."""
    if shutil.which("npm") is None:
        pytest.skip("the strict provider needs Node and npm")
    subprocess.run([ROOT / ".ci" / "install_node_tools"], check=True, capture_output=True)
    port = free_port()
    provider = StrictProvider(f"http://localhost:{port}")
    variables = {
        "PORT": str(port),
        "OIDC_ISSUER": provider.url,
        "OIDC_CLIENT_ID": settings.SOCIAL_AUTH_OIDC_KEY,
        "OIDC_CLIENT_SECRET": settings.SOCIAL_AUTH_OIDC_SECRET,
        "REDIRECT_URI": redirect_uri,
    }
    with _running(["node", ROOT / ".ci" / "strict_provider.mjs"], provider, os.environ | variables):
        yield provider


@contextmanager
def _running(command: list[Any], provider: Provider, environment: Mapping[str, str]) -> Iterator[None]:
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _attempt in range(400):
            try:
                httpx.get(f"{provider.url}/.well-known/openid-configuration").raise_for_status()
                break
            except httpx.TransportError:
                assert process.poll() is None, f"{command} stopped"
                time.sleep(0.05)
        else:
            raise RuntimeError(f"{command} does not answer")
        yield
    finally:
        process.terminate()
        process.wait(timeout=10)


KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
FORGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Rogue:
    """A provider whose every answer a test can spoil: by a status, a body, claims of its own, or silence."""

    url: str
    claims: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, Callable[[], tuple[int, str, bytes]]] = field(default_factory=dict)
    key: rsa.RSAPrivateKey = KEY
    algorithm: str = "RS256"
    nonce: str = ""

    def answer(self, path: str) -> tuple[int, str, bytes]:
        if path in self.answers:
            return self.answers[path]()
        documents = {
            "/.well-known/openid-configuration": {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "userinfo_endpoint": f"{self.url}/userinfo",
                "jwks_uri": f"{self.url}/jwks",
            },
            "/jwks": {"keys": [json.loads(RSAAlgorithm.to_jwk(KEY.public_key())) | {"kid": "1", "alg": "RS256"}]},
            "/token": {"access_token": "opaque", "token_type": "Bearer", "id_token": self.id_token()},
            "/userinfo": {"sub": "rogue", "email": "rogue@example.com", "email_verified": True} | self.userinfo,
        }
        return 200, "application/json", json.dumps(documents[path]).encode()

    def id_token(self) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "aud": "referral", "sub": "rogue", "iat": now, "exp": now + 60, "nonce": self.nonce}
        kept = {name: value for name, value in (claims | self.claims).items() if value is not None}
        if self.algorithm == "none":
            return jwt.encode(kept, "", algorithm="none", headers={"kid": "1"})
        return jwt.encode(kept, self.key, algorithm=self.algorithm, headers={"kid": "1"})


@contextmanager
def rogue_provider() -> Iterator[Rogue]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, kind, body = rogue.answer(urlsplit(self.path).path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(OSError):  # whoever asked has gone
                self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    rogue = Rogue(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield rogue
    finally:
        server.shutdown()
        server.server_close()
