"""The real server in production: what raw requests get, and where its secrets are not."""

import secrets
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from config.tests.live import PRODUCTION, Service, running_service

pytestmark = [pytest.mark.slow, pytest.mark.interface]

OURS = "Host: refer.example.com"
TLS = "X-Forwarded-Proto: https"
SECRETS = {name: secrets.token_urlsafe(48) for name in ("SECRET_KEY", "JWT_SIGNING_KEY", "EMAIL_HOST_PASSWORD")}


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Service]:
    """A service that knows its secrets from files only."""
    folder = tmp_path_factory.mktemp("secrets")
    files = {}
    for name, value in SECRETS.items():
        (folder / name).write_text(f"{value}\n")
        files |= {name: "", f"{name}_FILE": f"{folder / name}"}
    with running_service(workers=1, **PRODUCTION | files) as service:
        yield service


def raw(service: Service, *lines: str) -> str:
    """What the server says to a request of these lines."""
    port = int(service.environment["PORT"])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([OURS], 200),
        (["Host: refer.example.com:443"], 200),
        (["Host: evil.example.com"], 400),
        ([OURS, "Host: evil.example.com"], 400),
        (["Host: evil.example.com", OURS], 400),
        ([OURS, OURS], 400),
        ([], 400),
        ([OURS, "X-Forwarded-Host: evil.example.com"], 400),
        ([OURS, "X-Forwarded-Host: refer.example.com"], 200),
    ],
)
def test_the_server_answers_for_our_host_only(service, lines, status):
    """H6"""
    page, problem = (raw(service, f"GET {path} HTTP/1.1", *lines, TLS) for path in ("/", "/auth/o/"))
    assert page.startswith(f"HTTP/1.1 {status} ")
    assert problem.startswith(f"HTTP/1.1 {status} ")
    assert "evil" not in page + problem
    if status == 400:
        assert "content-type: application/problem+json" in problem


def test_another_host_in_the_target_of_a_request_is_not_taken_for_ours(service):
    """H6: the server leaves it out of what the service sees; the proxy refuses it, see test_proxy.py."""
    assert raw(service, "GET http://refer.example.com/ HTTP/1.1", "Host: evil.example.com", TLS).split()[1] == "400"
    answer = raw(service, "GET http://evil.example.com/api/schema/ HTTP/1.1", OURS, TLS)
    assert "evil" not in answer


def test_no_answer_tells_what_software_gave_it(service):
    """H5"""
    for path in ("/", "/auth/o/", "/nothing", "/static/pages/page.css", "/healthz"):
        head = raw(service, f"GET {path} HTTP/1.1", OURS, TLS).partition("\r\n\r\n")[0].lower()
        assert "\r\nserver: \r\n" in f"{head}\r\n"
        assert not [word for word in ("granian", "django", "python", "whitenoise", "x-powered-by") if word in head]
        assert "strict-transport-security: max-age=31536000; includesubdomains" in head


def test_in_the_clear_pages_lead_to_tls_the_api_refuses_and_probes_answer(service):
    """H1"""
    assert "location: https://refer.example.com/redoc/" in raw(service, "GET /redoc/ HTTP/1.1", OURS)
    refused = raw(service, "GET /auth/o/ HTTP/1.1", OURS)
    assert refused.startswith("HTTP/1.1 403 ")
    assert '"code": "https_required"' in refused
    assert raw(service, "GET /readyz HTTP/1.1", "Host: 10.0.0.7").startswith("HTTP/1.1 200 ")


def test_secrets_of_files_show_up_nowhere(service):
    """S3: not in the list of processes, their environment, the log, or what is said about health."""
    said = [urlopen(f"{service.url}/{probe}").read().decode() for probe in ("healthz", "readyz")]
    raw(service, "POST /auth/jwt/create/ HTTP/1.1", OURS, TLS, "Content-Type: application/json", "Content-Length: 0")
    log = Path(service.folder / "log").read_text()
    processes = subprocess.run(["ps", "auxwwe"], capture_output=True, text=True, check=True).stdout
    assert "config.serve" in processes
    assert str(service.folder) in processes  # and so there is its environment in it
    for text in (*said, log, processes):
        assert not [name for name, value in SECRETS.items() if value in text]
