"""Providers to sign in with: an honest one in a process of its own, and one that does what it is told."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from config.tests.live import free_port

BACK = "https://app.example.com/back"


@dataclass
class Provider:
    """An OpenID Connect provider, with a person at its login page."""

    url: str

    def knows(self, sub: str, **claims: Any) -> None:
        httpx.put(f"{self.url}/users/{sub}", json=claims).raise_for_status()

    def sign_in(self, authorization_url: str, sub: str) -> dict[str, str]:
        """Let `sub` agree; return what the provider puts into the address that it sends them back to."""
        location = httpx.post(authorization_url, data={"sub": sub}).headers["location"]
        assert location.startswith(BACK)
        return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


@contextmanager
def honest_provider() -> Iterator[Provider]:
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    provider = Provider(f"http://127.0.0.1:{port}")
    try:
        for _attempt in range(200):
            try:
                httpx.get(f"{provider.url}/.well-known/openid-configuration").raise_for_status()
                break
            except httpx.TransportError:
                time.sleep(0.05)
        yield provider
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
