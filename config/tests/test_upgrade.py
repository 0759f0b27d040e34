"""Updates: old and new code serve side by side on one database; a migration that was cut short is taken up again."""

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from config.tests.at_once import models_at
from config.tests.live import NO_LIMITS, ROOT, free_port, fresh_database, wait_until_ready
from conftest import check_invariants
from referrals.models import Referral
from users.models import User

pytestmark = pytest.mark.slow

BEFORE = "7e24166"  # the code that was landed before this one
SECONDS = float(os.environ.get("UPGRADE_SECONDS", "6"))
PASSWORD = "correct horse battery"


def environment_of(database_url: str, folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("REDIS_URL", "DJANGO_SETTINGS_MODULE")}
    return (
        kept
        | NO_LIMITS
        | {
            "DATABASE_URL": database_url,
            "ENV_FILE": os.devnull,
            "EMAIL_FILE_PATH": str(folder / "sent_emails"),
            "PUBLIC_URL": "http://127.0.0.1:8000",
            "SECRET_KEY": "the-same-for-both-" * 4,
            "JWT_SIGNING_KEY": "the-same-for-both-too-" * 3,
        }
    )


def migrate(code: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "manage.py", "migrate", "-v0"]
    done = subprocess.run(command, cwd=code, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@contextmanager
def serving(code: Path, environment: dict[str, str], log: Path) -> Iterator[str]:
    port = free_port()
    with open(log, "ab") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "config.serve"],
            cwd=code,
            env=environment | {"PORT": str(port)},
            stdout=output,
            stderr=output,
        )
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", server, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(timeout=60)


class Person(threading.Thread):
    """Somebody who does all there is to do, again and again, now here, now there."""

    def __init__(self, urls: list[str], answers: "Counter[tuple[str, int]]") -> None:
        super().__init__(daemon=True)
        self.urls, self.answers, self.over = urls, answers, threading.Event()
        self.access = ""

    def call(self, method: str, path: str, **body: object) -> tuple[int, Any]:
        url = random.choice(self.urls)
        headers = {"Content-Type": "application/json"} if body else {}
        if self.access:
            headers["Authorization"] = f"Bearer {self.access}"
        asked = Request(url + path, json.dumps(body).encode() if body else None, headers, method=method)
        try:
            with urlopen(asked, timeout=30) as answer:
                status, text = answer.status, answer.read()
        except HTTPError as error:
            status, text = error.code, error.read()
        self.answers[f"{method} {path.partition('?')[0]}", status] += 1
        return status, json.loads(text) if text else None

    def run(self) -> None:
        try:
            while not self.over.is_set():
                self.live()
        except Exception as error:
            self.answers[repr(error), 599] += 1
            raise

    def live(self) -> None:
        self.access = ""
        ada, bob = (f"{secrets.token_hex(8)}@example.com" for _number in range(2))
        self.call("POST", "/auth/users/", email=ada, password=PASSWORD)
        pair = self.call("POST", "/auth/jwt/create/", email=ada, password=PASSWORD)[1]
        self.access = pair["access"]
        pair = self.call("POST", "/auth/jwt/refresh/", refresh=pair["refresh"])[1]
        code = self.call("POST", "/api/referral-code/", expiration_date="2030-12-31")[1]["code"]
        self.call("POST", "/api/register-with-referral/", email=bob, password=PASSWORD, referral_code=code)
        me = self.call("GET", "/auth/users/me/")[1]["id"]
        for path in (f"/api/referrals/{me}/", f"/api/referrals/{me}/summary/", f"/api/referral-code/?email={ada}"):
            self.call("GET", path)
        self.call("POST", "/api/referral-code/email/")
        self.call("POST", "/auth/users/reset_password/", email=bob)
        self.call("PATCH", "/auth/users/me/", discoverable_by_email=False)
        self.call("DELETE", "/api/referral-code/")
        self.call("POST", "/auth/jwt/logout/", refresh=pair["refresh"])
        self.call("DELETE", "/auth/users/me/", current_password=PASSWORD)


@contextmanager
def people(urls: list[str], answers: "Counter[tuple[str, int]]", *, number: int = 4) -> Iterator[None]:
    everybody = [Person(urls, answers) for _number in range(number)]
    for person in everybody:
        person.start()
    try:
        yield
    finally:
        for person in everybody:
            person.over.set()
        for person in everybody:
            person.join(timeout=120)


@pytest.fixture
def code_before(tmp_path) -> Path:
    done = subprocess.run(["git", "archive", BEFORE], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("the history is not here")
    (before := tmp_path / "before").mkdir()
    subprocess.run(["tar", "-x", "-C", str(before)], input=done.stdout, check=True)
    return before


def test_old_and_new_code_serve_side_by_side_while_and_after_the_database_is_migrated(
    code_before, tmp_path, django_db_blocker
):
    """C18"""
    answers: Counter[tuple[str, int]] = Counter()
    with fresh_database(tmp_path) as database_url:
        environment = environment_of(database_url, tmp_path)
        migrate(code_before, environment)
        with serving(code_before, environment, tmp_path / "old.log") as old, people([old], answers):
            migrate(ROOT, environment)
            time.sleep(SECONDS / 4)
            with serving(ROOT, environment, tmp_path / "new.log") as new, people([old, new], answers):
                time.sleep(SECONDS)
            time.sleep(SECONDS / 4)
        with django_db_blocker.unblock(), models_at(database_url):
            check_invariants()
            assert Referral.objects.count() * 2 == User.objects.count() > 8
    print(f"\n{answers.total()} calls", dict(Counter(status for _call, status in answers.elements())))  # noqa: T201 (shown by -s)
    assert answers.total() > 100
    assert {call: count for call, count in answers.items() if call[1] >= 400} == {}


@pytest.mark.parametrize("seed", range(int(os.environ.get("UPGRADE_SEEDS", "2"))))
def test_a_migration_that_was_killed_is_taken_up_where_it_was(tmp_path, django_db_blocker, seed):
    """F16"""
    moments = random.Random(seed)
    with fresh_database(tmp_path) as database_url:
        environment = environment_of(database_url, tmp_path) | {"PYTHONUNBUFFERED": "1"}
        kills = 0
        while True:
            process = subprocess.Popen(
                [sys.executable, "manage.py", "migrate", "--no-color"],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            assert process.stdout
            begun = moments.randint(1, 12)
            said = list(islice((line for line in process.stdout if "..." in line), begun))
            if len(said) == begun and kills < 8:
                time.sleep(moments.uniform(0, 0.02))
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
                continue
            rest, _nothing = process.communicate(timeout=120)
            assert process.returncode == 0, rest
            if not said:
                break
        assert kills >= 2
        check = [sys.executable, "manage.py", "migrate", "--check"]
        subprocess.run(check, cwd=ROOT, env=environment, check=True, capture_output=True)
        with django_db_blocker.unblock(), models_at(database_url):
            User.objects.create_user("ada@example.com", PASSWORD)
            assert User.objects.count() == 1
