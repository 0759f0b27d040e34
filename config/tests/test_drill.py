"""The drill: a backup that is made while people work is restored elsewhere, and holds one consistent moment."""

import hashlib
import json
import secrets
import threading
import time
from urllib.request import Request, urlopen

import pytest
from django.db import connection

from config.tests.at_once import models_at
from config.tests.live import Service, fresh_database, running_service
from conftest import check_invariants
from referrals.models import Referral, ReferralCode
from users.models import OutgoingEmail, User

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery"


class Client(threading.Thread):
    """Registers one person after the other with a code, and writes down who was acknowledged."""

    def __init__(self, service: Service, name: str, code: str) -> None:
        super().__init__(daemon=True)
        self.service, self.prefix, self.code = service, name, code
        self.acknowledged: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            email = f"{self.prefix}{len(self.acknowledged)}@example.com"
            call(self.service, "/api/register-with-referral/", email=email, password=PASSWORD, referral_code=self.code)
            self.acknowledged.append(email)


def call(service: Service, path: str, access: str = "", **body: str) -> dict:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {access}"} if access else {})
    with urlopen(Request(service.url + path, json.dumps(body).encode(), headers), timeout=60) as answer:
        return json.load(answer)


def checksum(highest: int) -> str:
    """Of the business tables, as far as people go whose number is not above `highest`."""
    users = User.objects.filter(pk__lte=highest).order_by("pk")
    columns = ("id", "email", "username", "password", "language", "registered_at", "closed_at", "is_active")
    tables = (
        users.values_list(*columns),
        ReferralCode.objects.filter(owner__lte=highest).order_by("pk").values_list(),
        Referral.objects.filter(referred__lte=highest).order_by("pk").values_list(),
    )
    return hashlib.sha256(repr([list(rows) for rows in tables]).encode()).hexdigest()


def test_a_backup_under_load_holds_one_moment_and_all_that_was_acknowledged_before_it(tmp_path, django_db_blocker):
    """F15"""
    backup = tmp_path / "backup"
    with running_service() as service, fresh_database(tmp_path) as elsewhere, django_db_blocker.unblock():
        call(service, "/auth/users/", email="ada@example.com", password=PASSWORD)
        access = call(service, "/auth/jwt/create/", email="ada@example.com", password=PASSWORD)["access"]
        code = call(service, "/api/referral-code/", access, expiration_date="2030-12-31")["code"]
        clients = [Client(service, f"{letter}-{secrets.token_hex(4)}-", code) for letter in "abcd"]
        for client in clients:
            client.start()
        while min(len(client.acknowledged) for client in clients) < 5:
            time.sleep(0.1)
        before = [list(client.acknowledged) for client in clients]
        service.manage("backup", str(backup))
        after = [list(client.acknowledged) for client in clients]
        for client in clients:
            client.over.set()
        for client in clients:
            client.join(timeout=60)
        service.environment["DATABASE_URL"] = elsewhere
        service.manage("restore", str(backup))
        with models_at(elsewhere):
            there = set(User.objects.values_list("email", flat=True))
            highest = User.objects.latest("pk").pk
            restored = checksum(highest)
            assert Referral.objects.count() == User.objects.count() - 1
            assert not OutgoingEmail.objects.due().exists()
            check_invariants()
            if connection.vendor == "sqlite":
                with connection.cursor() as cursor:
                    assert cursor.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        with models_at(service.database_url):
            assert restored == checksum(highest)
            assert User.objects.filter(pk__lte=highest).count() == len(there)  # and none of them is missing
    for client, early, late in zip(clients, before, after, strict=True):
        kept = [email in there for email in client.acknowledged]
        assert all(kept[: len(early)])
        assert kept == sorted(kept, reverse=True)  # nothing without what came before it
        assert not any(kept[len(late) + 1 :])
