"""PgBouncer in transaction mode between the web processes and PostgreSQL, as `deploy/pgbouncer.ini` has it."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from config import pool
from config.tests.at_once import models_at
from faults import shapes
from faults.load import call
from faults.pgbouncer import CONNECTIONS
from faults.processes import until
from faults.shapes import Production
from faults.test_database import strike


@pytest.fixture(scope="module")
def running_bounced(postgres, django_db_blocker) -> Iterator[Production]:
    with django_db_blocker.unblock(), shapes.production(postgres, pgbouncer=True) as shape:
        yield shape


@pytest.fixture
def bounced(running_bounced) -> Iterator[Production]:
    """The service in production behind PgBouncer; the models are at its database."""
    with models_at(running_bounced.service.database_url):
        yield running_bounced


def test_more_people_than_connections_are_served_by_turns(bounced):
    load = bounced.load("bounced")
    with load.running(12):
        until(lambda: load.answers()[201] > 20)
        database = bounced.service.database_url.rpartition("/")[2]
        of_web = f"application_name = 'referral-service' AND datname = '{database}'"
        opened = bounced.postgres.ask("postgres", f"SELECT count(*) FROM pg_stat_activity WHERE {of_web}")
        assert 0 < opened[0][0] <= CONNECTIONS
        with ThreadPoolExecutor(8) as threads:  # the same statement again and again, now here, now there
            ready = threads.map(lambda _time: call(bounced.port, "GET", "/readyz").status, range(400))
            assert set(ready) == {200}
    bounced.check(load)
    assert set(load.answers()) & {500, 503, None} == set()


@pytest.mark.parametrize("name", ["killed", "frozen"])
def test_while_the_database_behind_it_is_away_the_answer_is_503_and_after_it_all_is_as_before(bounced, name):
    """F4 F6"""
    load = bounced.load(f"bounced{name}")
    with load.running():
        time.sleep(1)
        strike(bounced, load, name)
    bounced.check(load)


def test_what_a_web_process_sets_when_it_connects_is_set_behind_pgbouncer_too(bounced):
    with psycopg.connect(bounced.web_database_url) as connection:
        for name, value in pool.LIMITS.items():
            sql = "SELECT setting FROM pg_settings WHERE name = %s"
            assert connection.execute(sql, [name]).fetchone() == (str(value),)
