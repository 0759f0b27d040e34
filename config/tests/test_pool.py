"""The connections of a web process. What they are for, with the database killed and frozen, is in `faults/`."""

import re
import time
from datetime import UTC
from types import SimpleNamespace

import psycopg
import pytest
from django.core.cache import close_caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connection, reset_queries
from django.dispatch import Signal
from django.test.utils import CaptureQueriesContext
from psycopg.pq import Format
from psycopg_pool import ConnectionPool

from config import pool
from config.redis_cache import RedisCache
from referrals.models import Referral
from referrals.tests.factories import make_code
from users.models import User
from users.tests.factories import make_user

WORKING = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"

TIMESTAMPTZ = psycopg.adapters.types["timestamptz"].oid


def connect(**limits: int) -> pool.Connection:
    options = " ".join(f"-c {name}={value}" for name, value in limits.items())
    return pool.Connection.connect(**connection.get_connection_params() | {"options": options})


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)  # in one transaction, who is active stays as it was at the first look
def test_a_connection_whose_server_is_silent_ends_and_so_does_what_it_asked_for(monkeypatch):
    """F6"""
    monkeypatch.setattr(pool, "PATIENCE", 0.2)
    with connect(client_connection_check_interval=100) as own:
        assert own.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError):
            own.execute("SELECT pg_sleep(300)")
        assert own.closed
    with connection.cursor() as cursor:
        while cursor.execute(WORKING).fetchone() != (0,):
            time.sleep(0.05)
            cursor.execute("SELECT pg_stat_clear_snapshot()")  # what a transaction has seen of it, it sees again


@pytest.mark.postgres
@pytest.mark.django_db
def test_a_refusal_of_the_server_leaves_the_connection_as_it_was():
    with connect(statement_timeout=100) as own:
        with pytest.raises(psycopg.errors.QueryCanceled):
            own.execute("SELECT pg_sleep(30)")
        own.rollback()
        assert own.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.postgres
@pytest.mark.django_db
def test_moments_are_read_as_django_reads_them():
    """To the microsecond, in UTC, from the first to the last that there is."""
    asked = (
        "SELECT '0001-01-01 00:00:00+00'::timestamptz, '1999-12-31 23:59:59.999999+14'::timestamptz,"
        " '2030-06-01 12:00:00.5+05:30'::timestamptz, '9999-12-31 23:59:59.999999+00'::timestamptz, NULL::timestamptz"
    )
    with connect() as own:
        own.execute("SET TIME ZONE 'UTC'")
        cursor = own.cursor()
        ours = cursor.execute(asked).fetchone()
        assert cursor.connection.adapters.get_loader(TIMESTAMPTZ, Format.TEXT).timezone is UTC
    with connection.cursor() as cursor:
        cursor.execute(asked)
        theirs = cursor.fetchone()
    assert ours == theirs
    assert [str(moment) for moment in ours] == [
        str(moment) for moment in theirs
    ]  # of an equal one in another zone, not


@pytest.mark.postgres
@pytest.mark.django_db
def test_a_connection_that_spoke_just_now_is_not_asked_whether_it_is_alive_and_any_other_is(monkeypatch):
    """F4: so one whose server ended it is found out after a second, and before it is of use to anybody."""
    now = time.monotonic()
    monkeypatch.setattr(pool, "time", clock := SimpleNamespace(monotonic=lambda: now))
    with connect() as own, connect() as other:
        own.autocommit = other.autocommit = True
        pid = own.execute("SELECT pg_backend_pid()").fetchone()[0]
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        ConnectionPool.check_connection(own)  # nothing is sent
        clock.monotonic = lambda: now + pool.FRESH_FOR
        with pytest.raises(psycopg.OperationalError):
            ConnectionPool.check_connection(own)
        ConnectionPool.check_connection(other)
        assert other.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.postgres
@pytest.mark.django_db
def test_a_connection_that_spoke_just_now_is_asked_all_that_is_a_question():
    with connect() as own:
        assert own.execute("SELECT 1").fetchone() == (1,)
        assert own.execute("SELECT 2").fetchone() == (2,)
        own.execute("")
        with pytest.raises(psycopg.errors.SyntaxError):
            own.execute("no question")


def pooled(monkeypatch, *, pgbouncer: bool = False, **database: object) -> dict:
    """The settings of a database, and of its replica, as `use_pool` leaves them in a process with four threads."""
    databases = {"default": {**database}, "replica": {**database}}
    settings = SimpleNamespace(DATABASES=databases, WEB_THREADS=4, PGBOUNCER=pgbouncer, DEBUG=False)
    monkeypatch.setattr(pool, "settings", settings)
    for signal in (request_started, request_finished):
        monkeypatch.setattr(signal, "receivers", [*signal.receivers])
    pool.use_pool()
    assert settings.DATABASES["replica"] == settings.DATABASES["default"]
    return settings.DATABASES["default"]


def test_a_web_process_has_a_connection_for_each_thread_and_two_more(monkeypatch):
    given = {"sslmode": "require", "connect_timeout": 7}
    database = pooled(monkeypatch, ENGINE="django.db.backends.postgresql", CONN_MAX_AGE=600, OPTIONS=given)
    assert database["CONN_MAX_AGE"] == 0
    assert database["OPTIONS"]["pool"]["max_size"] == 6
    assert "-c statement_timeout=3500 -c lock_timeout=3500 " in database["OPTIONS"]["options"]
    assert all(f"-c {name}={value}" in database["OPTIONS"]["options"] for name, value in pool.PLANS.items())
    assert database["OPTIONS"] == database["OPTIONS"] | given  # what the URL of the database says goes before ours


def test_pgbouncer_gets_no_options_at_the_start(monkeypatch):
    database = pooled(monkeypatch, pgbouncer=True, ENGINE="django.db.backends.postgresql")
    assert database["OPTIONS"].keys() == {"pool", "connect_timeout", "application_name"}


@pytest.mark.postgres
@pytest.mark.django_db
def test_a_query_that_comes_again_and_again_is_prepared():
    for _time in range(6):
        assert not User.objects.filter(email="nobody@example.com").exists()
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        assert any("users_user" in statement for (statement,) in cursor.fetchall())


def test_at_a_request_connections_are_looked_after_and_nothing_is_that_needs_it_not(monkeypatch):
    needed = [receiver for signal in (request_started, request_finished) for receiver in of(signal)]
    pooled(monkeypatch, ENGINE="django.db.backends.postgresql")
    for receiver in (reset_queries, close_caches):
        needed.remove(receiver)
    assert [receiver for signal in (request_started, request_finished) for receiver in of(signal)] == needed
    assert needed.count(close_old_connections) == 2
    assert {cache.close for cache in (RedisCache, DummyCache)} == {BaseCache.close}  # which does nothing


def of(signal: Signal) -> list:
    return [receiver() for _key, receiver, *_rest in signal.receivers]


def test_sqlite_has_no_pool(monkeypatch):
    assert pooled(monkeypatch, ENGINE="django.db.backends.sqlite3") == {"ENGINE": "django.db.backends.sqlite3"}


@pytest.mark.postgres
@pytest.mark.django_db
def test_the_plan_for_an_average_referrer_reads_the_list_of_a_large_one_in_order_too(as_user):
    """It serves whoever comes once a statement is prepared: no sort of all that there is."""
    codes = [make_code(make_user(password=None)) for _referrer in range(201)]
    people = User.objects.bulk_create(
        User(email=f"person{number}@example.com", username=f"person{number}") for number in range(4_000)
    )
    Referral.objects.bulk_create(  # every other one is of the same referrer, the rest has ten each
        Referral(referrer_id=code.owner_id, referred=person, code=code)
        for number, person in enumerate(people)
        for code in [codes[0 if number % 2 else 1 + number // 2 % 200]]
    )
    with CaptureQueriesContext(connection) as captured:
        as_user(codes[0].owner).get(f"/api/referrals/{codes[0].owner_id}/")
    [sql] = [query["sql"] for query in captured if "referrals_referral" in query["sql"]]
    generic = re.sub(r'"id" < \d+ AND (.*"referrer_id") = \d+', r'"id" < $1 AND \1 = $2', sql)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        for name, value in pool.PLANS.items():
            cursor.execute(f"SET LOCAL {name} = {value}")
        cursor.execute(f"EXPLAIN (GENERIC_PLAN) {generic}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "referrals_referral_newest" in plan
    assert "Sort" not in plan
