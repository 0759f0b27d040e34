"""The service as it runs for people: the real server in processes of its own, on a database of its own."""

import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parent.parent.parent
LIMITS = dict(re.findall(r"(?m)^# (THROTTLE_\w+)=(\S+)", (ROOT / ".env.example").read_text("utf-8")))
SERVER = [sys.executable, "-m", "config.serve"]
NO_LIMITS = dict.fromkeys(LIMITS, "0")
PRODUCTION = {
    "PUBLIC_URL": "https://refer.example.com",
    "TRUSTED_PROXIES": "127.0.0.1",
    "DEFAULT_FROM_EMAIL": "Referrals <refer@example.com>",
}
OVER_TLS = {"Host": "refer.example.com", "X-Forwarded-Proto": "https"}
"""What a proxy that did TLS says to a service in production."""


@dataclass
class Service:
    url: str
    database_url: str
    folder: Path
    environment: dict[str, str]

    def manage(self, *arguments: str) -> str:
        """Run a management command of this service and return what it prints."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=True)
        return done.stdout

    def newest_mail(self, address: str, about: str = "") -> str:
        """The newest mail to an address that has `about` in it, once it is there: some come after the answer."""
        for _look in range(600):
            texts = [text.strip() for file in self.mails() for text in re.split(r"(?m)^-{79}$", file)]
            if found := [text for text in texts if f"To: {address}\n" in text and about in text]:
                return found[-1]
            time.sleep(0.05)
        raise AssertionError(f"no mail to {address}")

    def mails(self) -> list[str]:
        """The files in `sent_emails/`, the oldest first; a file can hold more than one mail."""
        files = sorted((self.folder / "sent_emails").glob("*.log"), key=lambda file: file.stat().st_mtime_ns)
        return [file.read_text(encoding="utf-8") for file in files]


@contextmanager
def running_service(*, workers: int = 2, **environment: str) -> Iterator[Service]:
    """Start the service on SQLite or, where the tests run on PostgreSQL, on a fresh database there; stop it after."""
    with tempfile.TemporaryDirectory(prefix="service_") as folder, fresh_database(Path(folder)) as database_url:
        service = new_service(Path(folder), database_url, WEB_WORKERS=str(workers), **environment)
        with running_server(service):
            yield service


def new_service(folder: Path, database_url: str, **environment: str) -> Service:
    """A service with an empty database that was migrated, and nothing that serves it yet."""
    port = free_port()
    variables = {
        name: value for name, value in os.environ.items() if name not in ("REDIS_URL", "DJANGO_SETTINGS_MODULE")
    }
    variables |= {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "ENV_FILE": os.devnull,
        "SECRET_KEY": secrets.token_urlsafe(48),
        "JWT_SIGNING_KEY": secrets.token_urlsafe(48),
        "DATABASE_URL": database_url,
        "EMAIL_FILE_PATH": f"{folder}/sent_emails",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
    }
    variables |= NO_LIMITS | environment
    service = Service(f"http://127.0.0.1:{port}", database_url, folder, variables)
    service.manage("migrate", "-v0")
    return service


@contextmanager
def running_server(service: Service) -> Iterator[subprocess.Popen[bytes]]:
    with open(service.folder / "log", "ab") as log:
        server = subprocess.Popen(SERVER, cwd=ROOT, env=service.environment, stdout=log, stderr=log)
        try:
            wait_until_ready(service.url, server, Path(log.name))
            yield server
        finally:
            server.terminate()
            server.wait(timeout=30)


@contextmanager
def fresh_database(folder: Path) -> Iterator[str]:
    given = os.environ.get("DATABASE_URL", "")
    if not given.startswith("postgres"):
        yield f"sqlite:///{folder}/db.sqlite3"
        return
    import psycopg

    name = f"live_{secrets.token_hex(6)}"
    with psycopg.connect(given.replace("postgres://", "postgresql://", 1), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            yield urlunsplit(urlsplit(given)._replace(path=f"/{name}"))
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _attempt in range(300):
        try:
            urlopen(f"{url}/readyz", timeout=5).close()
        except (URLError, ConnectionError, TimeoutError):
            if server.poll() is not None:
                break
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"the service did not start:\n{log.read_text()}")
