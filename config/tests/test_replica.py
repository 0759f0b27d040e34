"""Who reads the replica and when. A real one, late, stopped and frozen, is in `faults/test_replica.py`."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from django.db import IntegrityError, OperationalError
from psycopg.errors import QueryCanceled, SerializationFailure
from redis import Redis

from config.api import replica
from referrals.tests.factories import make_code
from users.models import User
from users.tests.factories import PASSWORD, make_user

ADA, BOB = 1, 2


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch, settings, valkey) -> Clock:
    """The time as the choice sees it, in a process that knows nothing yet of a replica that keeps up."""
    settings.DATABASE_REPLICA_URL = "postgres://replica/db"
    keep_at(valkey, settings)
    Redis.from_url(valkey).flushall()
    monkeypatch.setattr(replica, "time", clock := Clock())
    monkeypatch.setattr(replica, "_until", 0.0)
    monkeypatch.setattr(replica, "_unsure_until", 0.0)
    monkeypatch.setattr(replica, "_keeps_up", lambda: True)
    return clock


def keep_at(redis: str, settings) -> None:
    settings.CACHES = {"default": settings.REDIS_CACHE | {"LOCATION": [redis]}}


def asked(by: int = ADA, fails: Callable[[str], None] = lambda database: None) -> list[str]:
    """The databases that a read comes to."""
    databases: list[str] = []

    def ask(database: str) -> list[str]:
        databases.append(database)
        fails(database)
        return databases

    return replica.read(ask, by=by)


def replica_fails(cause: Exception | None = None) -> Callable[[str], None]:
    def fails(database: str) -> None:
        if database == "replica":
            raise OperationalError from cause

    return fails


def counted(outcome: str) -> float:
    return replica.metrics.REPLICA_READS.labels(outcome)._value.get()


def test_without_a_replica_nothing_else_is_asked(settings, caplog):
    keep_at("redis://127.0.0.1:9/0", settings)
    assert asked() == ["default"]
    assert not caplog.records


def test_a_replica_that_keeps_up_is_read(clock):
    before = counted("replica")
    assert asked() == ["replica"]
    assert counted("replica") == before + 1


@pytest.mark.django_db
def test_in_a_transaction_the_primary_is_read(clock):
    assert asked() == ["default"]


def test_who_has_just_written_reads_the_primary_and_nobody_else_does(clock, valkey):
    replica.note_write(ADA)
    assert asked(ADA) == ["default"]
    assert asked(BOB) == ["replica"]
    [key] = Redis.from_url(valkey).keys()
    assert 9000 < Redis.from_url(valkey).pttl(key) <= 10_000
    assert replica.OWN_WRITES_FOR > replica.MOST_BEHIND + replica.GOOD_FOR


@pytest.mark.parametrize("use", [asked, lambda: replica.note_write(ADA)])
def test_a_process_that_redis_does_not_answer_reads_the_primary_for_as_long_as_writes_may_be_unknown(
    clock, settings, valkey, use
):
    """F7"""
    keep_at("redis://127.0.0.1:9/0", settings)
    use()
    keep_at(valkey, settings)
    clock.now += replica.OWN_WRITES_FOR - 0.1
    assert asked(BOB) == ["default"]
    clock.now += 0.2
    assert asked(BOB) == ["replica"]


def test_a_replica_that_is_away_fails_nobody_and_is_left_alone_for_a_while(clock):
    """G1"""
    before = counted("away")
    assert asked(fails=replica_fails()) == ["replica", "default"]
    assert asked() == ["default"]
    assert counted("away") == before + 2
    clock.now += replica.BAD_FOR + 0.1
    assert asked() == ["replica"]


@pytest.mark.parametrize("cause", [SerializationFailure(), QueryCanceled()])
def test_a_read_that_the_replica_gave_up_is_the_only_one_that_it_does_not_do(clock, cause):
    before = counted("failed")
    assert asked(fails=replica_fails(cause)) == ["replica", "default"]
    assert asked() == ["replica"]
    assert counted("failed") == before + 1


def test_what_fails_on_the_primary_too_is_told(clock):
    def fails(database: str) -> None:
        raise IntegrityError

    with pytest.raises(IntegrityError):
        asked(fails=fails)


def test_a_replica_that_is_behind_is_not_read_until_it_has_caught_up(clock, monkeypatch):
    assert asked() == ["replica"]
    monkeypatch.setattr(replica, "_keeps_up", lambda: False)
    assert asked() == ["replica"]  # as was found out a moment ago
    clock.now += replica.GOOD_FOR + 0.1
    assert asked() == ["default"]
    monkeypatch.setattr(replica, "_keeps_up", lambda: True)
    assert asked() == ["default"]
    clock.now += replica.BAD_FOR + 0.1
    assert asked() == ["replica"]


def test_while_one_thread_waits_for_the_replica_the_others_do_not(clock, monkeypatch):
    waits, go_on = Event(), Event()

    def keeps_up() -> bool:
        if waits.is_set():
            return True
        waits.set()
        return go_on.wait(timeout=60)

    monkeypatch.setattr(replica, "_keeps_up", keeps_up)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(asked)
        assert waits.wait(timeout=60)
        assert asked(BOB) == ["default"]
        go_on.set()
        assert first.result(timeout=60) == ["replica"]
    assert asked(BOB) == ["replica"]


# --- What the service notes and asks ---


@pytest.fixture
def noted(clock, settings, monkeypatch) -> list[int]:
    """Whose writes are noted."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "config.api.replica.OwnWritesMiddleware"]
    noted: list[int] = []
    monkeypatch.setattr(replica, "note_write", noted.append)
    return noted


@pytest.mark.django_db
def test_what_is_noted_is_a_write_of_who_is_signed_in_that_was_done(noted, api, as_user):
    grace = make_user()
    client = as_user(grace)
    client.get("/auth/users/me/")
    assert client.patch("/auth/users/me/", {"username": "!"}).status_code == 400
    assert api.post("/auth/users/", {"email": "new@example.com", "password": PASSWORD}).status_code == 201
    assert noted == []
    assert client.patch("/auth/users/me/", {"username": "hopper"}).status_code == 200
    assert client.post("/api/referral-code/", {"expiration_date": "2030-12-31"}).status_code == 201
    assert client.delete("/api/referral-code/").status_code == 204
    assert api.post("/auth/jwt/create/", {"email": grace.email, "password": PASSWORD}).status_code == 200
    assert noted == [grace.pk] * 4


@pytest.mark.django_db
def test_lists_sums_and_look_ups_may_be_read_from_the_replica_and_nothing_else_may(as_user, monkeypatch):
    ada, grace = make_user(), make_user()
    code = make_code(ada)
    asked: list[str] = []

    def read(ask: Callable[[str], object], *, by: int) -> object:
        assert by == grace.pk
        asked.append(path)
        return ask("default")

    monkeypatch.setattr(replica, "read", read)
    lagging = [f"/api/referrals/{grace.pk}/", f"/api/referrals/{grace.pk}/summary/", f"{CODE}?email={ada.email}"]
    for path in [*lagging, "/auth/users/me/", f"{CODE}{code.code}/", f"{CODE}?email={grace.email}", CODE]:
        assert as_user(User.objects.get(pk=grace.pk)).get(path).status_code in (200, 404)
    assert asked == lagging


CODE = "/api/referral-code/"
