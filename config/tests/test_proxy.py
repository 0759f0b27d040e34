"""The proxy that does TLS, as it is shipped, before the real server: what it lets pass, and what never gets there."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path

import pytest
from playwright.sync_api import expect

from config.tests.live import PRODUCTION, ROOT, Service, free_port, running_service

pytestmark = [pytest.mark.slow, pytest.mark.interface]

PASSWORD = "correct horse battery"


@dataclass
class Proxy:
    """nginx before a service in production that has one thread, so that whoever holds that is noticed."""

    service: Service
    port: int
    plain_port: int
    tls: ssl.SSLContext

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @contextmanager
    def connection(self, *, plain: bool = False) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.plain_port if plain else self.port), timeout=30) as raw:
            if plain:
                yield raw
                return
            with self.tls.wrap_socket(raw, server_hostname="localhost") as secure:
                yield secure

    def answers(self, data: bytes, *, plain: bool = False) -> bytes:
        """All that comes back until the proxy hangs up."""
        with self.connection(plain=plain) as connection:
            connection.sendall(data)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def get(self, path: str, *headers: str, plain: bool = False) -> tuple[int, dict[str, str], str]:
        lines = [f"GET {path} HTTP/1.1", f"Host: localhost:{self.port}", "Connection: close", *headers, "", ""]
        with self.connection(plain=plain) as connection:
            connection.sendall("\r\n".join(lines).encode())
            answer = HTTPResponse(connection)
            answer.begin()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()


@contextmanager
def running_nginx(folder: Path, upstream: str, port: int, plain_port: int) -> Iterator[None]:
    """The shipped configuration with nothing changed but addresses and the folder to write to."""
    if shutil.which("nginx") is None:
        pytest.fail("These tests look at the proxy, which is not installed: apt-get install nginx-light")
    openssl = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    certificate = ["-addext", "subjectAltName=DNS:localhost", "-out", "fullchain.pem", "-keyout", "privkey.pem"]
    subprocess.run([*openssl, *certificate], cwd=folder, check=True, capture_output=True)
    text = (ROOT / "deploy/nginx.conf").read_text("utf-8")
    for shipped, here in (
        (" /tmp/", f" {folder}/"),
        ("web:8000", upstream.removeprefix("http://")),
        ("listen 8443", f"listen 127.0.0.1:{port}"),
        ("listen 8080", f"listen 127.0.0.1:{plain_port}"),
        ("/etc/nginx/tls/", f"{folder}/"),
    ):
        assert shipped in text
        text = text.replace(shipped, here)
    (folder / "nginx.conf").write_text(text)
    user = "user root;" if os.geteuid() == 0 else ""
    with (folder / "nginx.log").open("wb") as log:
        command = ["nginx", "-e", "stderr", "-c", f"{folder}/nginx.conf", "-g", f"daemon off; {user}"]
        nginx = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            for _attempt in range(100):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            assert nginx.poll() is None, (folder / "nginx.log").read_text()
            yield
        finally:
            nginx.terminate()
            nginx.wait(timeout=30)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory) -> Iterator[Proxy]:
    folder, port, plain_port = tmp_path_factory.mktemp("nginx"), free_port(), free_port()
    environment = PRODUCTION | {"PUBLIC_URL": f"https://localhost:{port}", "WEB_THREADS": "1"}
    with (
        running_service(workers=1, **environment) as service,
        running_nginx(folder, service.url, port, plain_port),
    ):
        yield Proxy(service, port, plain_port, ssl.create_default_context(cafile=f"{folder}/fullchain.pem"))


# --- Requests that two readers can read in two ways ---

POST = b"POST /auth/jwt/create/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(SMUGGLED)
REFUSED = {
    "length and chunks": POST + LENGTH + CHUNKED + b"\r\n0\r\n\r\n" + SMUGGLED,
    "chunks and length": POST + CHUNKED + LENGTH + b"\r\n0\r\n\r\n" + SMUGGLED,
    "two lengths": POST + b"Content-Length: 0\r\n" + LENGTH + b"\r\n" + SMUGGLED,
    "one length twice": POST + LENGTH + LENGTH + b"\r\n" + SMUGGLED,
    "two lengths in one": POST + b"Content-Length: 0, %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
    "a length with a sign": POST + b"Content-Length: +0\r\n\r\n" + SMUGGLED,
    "a length that is none": POST + b"Content-Length: 0x0\r\n\r\n" + SMUGGLED,
    "a negative length": POST + b"Content-Length: -1\r\n\r\n" + SMUGGLED,
    "a space before the colon": POST + b"Transfer-Encoding : chunked\r\n" + LENGTH + b"\r\n0\r\n\r\n" + SMUGGLED,
    "another coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "two codings": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a coding twice": POST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n" + SMUGGLED,
    "a size of a chunk that is none": POST + CHUNKED + b"\r\n0x1\r\na\r\n0\r\n\r\n" + SMUGGLED,
    "a NUL in a header": POST + b"X-A: \0\r\n\r\n" + SMUGGLED,
    "a header of 64 KB": POST + b"X-A: " + b"a" * 65536 + b"\r\n\r\n" + SMUGGLED,
    "headers of 64 KB": POST + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 4000) for n in range(16)) + b"\r\n" + SMUGGLED,
    "no host": b"GET / HTTP/1.1\r\n\r\n" + SMUGGLED,
    "two hosts": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n" + SMUGGLED,
}


@pytest.mark.parametrize("request_and_more", REFUSED.values(), ids=REFUSED.keys())
def test_a_request_that_can_be_read_in_two_ways_is_refused_and_nothing_after_it_is_read(proxy, request_and_more):
    """H7, H6"""
    answers = proxy.answers(request_and_more)
    assert answers.startswith(b"HTTP/1.1 400 ")
    assert answers.count(b"HTTP/1.1 ") == 1
    assert proxy.get("/readyz")[0] == 200


READ_IN_ONE_WAY = {
    "a bare line feed": b"POST /auth/jwt/create/ HTTP/1.1\nHost: localhost\nContent-Length: %d\nConnection: close\n\n",
    "a bare line feed in a value": POST
    + b"X-A: b\nTransfer-Encoding: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n",
    "a folded line": POST + b"X-A: b\r\n Transfer-Encoding: chunked\r\nConnection: close\r\nContent-Length: %d\r\n\r\n",
    "a folded length": POST + b"X-A: b\r\n\tContent-Length: 0\r\nConnection: close\r\nContent-Length: %d\r\n\r\n",
    "an underscore": POST + b"Transfer_Encoding: chunked\r\nConnection: close\r\nContent-Length: %d\r\n\r\n",
}


@pytest.mark.parametrize("head", READ_IN_ONE_WAY.values(), ids=READ_IN_ONE_WAY.keys())
def test_what_the_proxy_mends_or_leaves_out_reaches_the_service_in_one_reading(proxy, head):
    """H7: nginx takes a bare LF for the end of a line and leaves out what is no header, and writes its own request."""
    answers = proxy.answers(head % len(SMUGGLED) + SMUGGLED + SMUGGLED)
    assert answers.count(b"HTTP/1.1 ") == 1  # the body is no request, and nothing follows a connection's last one
    assert answers.split()[1] in (b"400", b"415", b"501")
    assert b"smuggled" not in answers
    for _time in range(5):  # nor did anything stay in a connection to the service
        assert proxy.get("/auth/nothing/")[0] == 404


# --- Which host, which scheme, who ---


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("/auth/o/", "localhost", 200),
        ("/auth/o/", "LOCALHOST.:443", 200),
        ("/auth/o/", "evil.example.com", 400),
        ("http://localhost/auth/o/", "localhost", 200),
        ("http://evil.example.com/auth/o/", "localhost", 400),
        ("http://localhost/auth/o/", "evil.example.com", 400),
        ("http://localhost@evil.example.com/auth/o/", "localhost", 400),
    ],
)
def test_all_hosts_that_a_request_names_are_ours_and_the_same(proxy, target, host, status):
    """H6"""
    answer = proxy.answers(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer


def test_in_the_clear_pages_lead_to_tls_and_the_api_refuses(proxy):
    """H1, T2: whatever a client says of itself."""
    for claim in ([], ["X-Forwarded-Proto: https", "Forwarded: proto=https", "X_Forwarded_Proto: https"]):
        status, headers, _body = proxy.get("/redoc/?a=b", *claim, plain=True)
        assert (status, headers["location"]) == (301, f"{proxy.url}/redoc/?a=b")
        status, headers, body = proxy.get("/auth/o/", *claim, plain=True)
        assert (status, json.loads(body)["code"]) == (403, "https_required")
        assert "strict-transport-security" not in headers  # RFC 6797, 7.2


def test_what_is_old_or_weak_in_tls_is_not_spoken_and_http_2_is(proxy):
    """H1"""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        proxy.tls.minimum_version = proxy.tls.maximum_version = version
        assert proxy.get("/")[0] == 200
    proxy.tls.minimum_version, proxy.tls.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.MAXIMUM_SUPPORTED
    old = subprocess.run(
        ["openssl", "s_client", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-connect", f"127.0.0.1:{proxy.port}"],
        input="",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "alert protocol version" in old.stderr
    curl = ["curl", "-sk", "--http2", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", f"{proxy.url}/auth/o/"]
    assert subprocess.run(curl, capture_output=True, text=True, check=True).stdout == "2 200"


def test_the_headers_of_the_service_come_through_and_no_version_does(proxy):
    """H1, H5"""
    for path in ("/", "/auth/o/", "/nothing", "/static/pages/page.css", "/static/pages/page.css"):
        _status, headers, _body = proxy.get(path)
        assert headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
        assert headers["server"] == "nginx"
        assert "x-powered-by" not in headers


def test_pages_and_the_admin_work_over_tls_with_cookies_of_this_host_only(proxy, browser):
    """H1, H2, H4"""
    command = proxy.service.environment | {"DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    Service(proxy.url, "", proxy.service.folder, command).manage(
        "createsuperuser", "--noinput", "--email", "root@example.com"
    )
    context = browser.new_context(base_url=proxy.url, ignore_https_errors=True, locale="en")
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    for path in ("/", "/redoc/", "/swagger/"):
        page.goto(path)
        expect(page.get_by_role("heading", name="Referral service").first).to_be_visible()
    page.goto("/admin/")
    page.get_by_label("E-mail address").fill("root@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(f"{proxy.url}/admin/")
    cookies = {cookie["name"]: cookie for cookie in context.cookies()}
    context.close()
    assert cookies.keys() == {"__Host-sessionid", "__Host-csrftoken"}
    for cookie in cookies.values():
        assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, True, "Lax", "/")
    assert complaints == []


# --- Who is large, slow or away ---


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(proxy):
    """B7, H7"""
    head = (
        b"POST /auth/users/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 65537\r\n"
    )
    with proxy.connection() as connection:
        connection.sendall(head + b"Connection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "content_too_large"


def test_slow_bodies_hold_no_process_of_the_service_and_a_pause_ends_them(proxy):
    """B7: the only thread there is answers others, while eight send a byte and then nothing more."""
    head = POST + b"Content-Length: 60000\r\n\r\n"
    slow = [proxy.connection() for _connection in range(8)]
    opened = [connection.__enter__() for connection in slow]
    try:
        for connection in opened:
            connection.sendall(head + b"{")
        assert [proxy.get("/auth/o/")[0] for _time in range(20)] == [200] * 20
        for connection in opened:
            connection.settimeout(30)
            assert connection.recv(65536) == b""  # after the 10 seconds of the configuration
    finally:
        for connection in slow:
            connection.__exit__(None, None, None)


def test_while_no_process_answers_the_api_says_when_to_come_back(tmp_path):
    """G1, F13"""
    port = free_port()
    with running_nginx(tmp_path, f"127.0.0.1:{free_port()}", port, free_port()):
        proxy = Proxy(None, port, 0, ssl.create_default_context(cafile=f"{tmp_path}/fullchain.pem"))
        status, headers, body = proxy.get("/api/referral-code/")
    assert (status, headers["retry-after"]) == (503, "5")
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(body)["code"] == "service_unavailable"
