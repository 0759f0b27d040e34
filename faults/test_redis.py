"""F7: Redis gone, emptied, read-only, full, slow, and cut off. What has a limit waits (T4), everything else goes on."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from redis import Redis

from config.tests.at_once import models_at
from config.tests.live import NO_LIMITS
from faults import shapes
from faults.load import Answer, call
from faults.processes import until
from faults.shapes import Production
from referrals.tests.factories import make_code
from users.models import OutgoingEmail, User
from users.tests.factories import PASSWORD, make_user

FAULTS: dict[str, tuple[Callable[[Production], object], Callable[[Production], object]]] = {
    "gone": (lambda shape: shape.redis.terminate(), lambda shape: shape.redis.start()),
    "read-only": (
        lambda shape: redis(shape).replicaof("127.0.0.1", 1),
        lambda shape: redis(shape).replicaof("NO", "ONE"),
    ),
    "full": (
        lambda shape: redis(shape).config_set("maxmemory", 1),
        lambda shape: redis(shape).config_set("maxmemory", 0),
    ),
    "cut off": (lambda shape: shape.to_redis.reset(), lambda shape: shape.to_redis.heal()),
    "silent": (lambda shape: shape.to_redis.drop(), lambda shape: shape.to_redis.heal()),
    "half closed": (lambda shape: shape.to_redis.half_close(), lambda shape: shape.to_redis.heal()),
    "too slow": (lambda shape: shape.to_redis.delay(3), lambda shape: shape.to_redis.heal()),
}


def redis(shape: Production) -> Redis:
    return Redis.from_url(shape.redis.connection_url)


@contextmanager
def struck_by(fault: str, shape: Production) -> Iterator[None]:
    strike, heal = FAULTS[fault]
    strike(shape)
    try:
        yield
    finally:
        heal(shape)


@pytest.mark.parametrize("fault", FAULTS)
def test_without_redis_what_is_limited_waits_and_the_rest_goes_on(production, fault):
    """F7 T4"""
    user = make_user()
    pair = production.sign_in(user)
    load = production.load(fault.replace(" ", ""))
    with load.running(4):
        time.sleep(0.5)
        with struck_by(fault, production):
            began = time.monotonic()
            assert [answer.status for answer in limited(production, user, pair["access"])] == [503] * 5
            asked = time.monotonic() - began
            assert [answer.status for answer in unlimited(production, user, pair)] == [
                200,
                200,
                201,
                200,
                204,
                200,
                200,
            ]
            time.sleep(0.5)
        healed = time.monotonic()
        until(lambda: load.first(201, since=healed), seconds=20)
        recovery = load.first(201, since=healed)
    production.check(load)
    print(f"{fault}: five refusals in {asked:.1f} s, a sign-up {recovery:.1f} s after the return")


def limited(shape: Production, user: User, access: str) -> Iterator[Answer]:
    """What is counted: a sign-up, a sign-in, a check of a code, and asking for mails."""
    new = {"email": "nobody@example.com", "password": PASSWORD}
    yield call(shape.port, "POST", "/auth/users/", new)
    yield call(shape.port, "POST", "/auth/jwt/create/", {"email": user.email, "password": PASSWORD})
    yield call(shape.port, "GET", f"/api/referral-code/{shape.codes[0]}/")
    yield call(shape.port, "POST", "/api/referral-code/email/", {"email": "nobody@example.com"}, access)
    yield call(shape.port, "POST", "/auth/users/reset_password/", {"email": user.email})


def unlimited(shape: Production, user: User, pair: dict[str, str]) -> Iterator[Answer]:
    access, in_a_week = pair["access"], (datetime.now(UTC) + timedelta(days=7)).isoformat()
    yield call(shape.port, "GET", "/auth/users/me/", token=access)
    yield call(shape.port, "PATCH", "/auth/users/me/", {"discoverable_by_email": False}, access)
    yield call(shape.port, "POST", "/api/referral-code/", {"expiration_date": in_a_week}, access)
    yield call(shape.port, "GET", "/api/referral-code/", token=access)
    yield call(shape.port, "DELETE", "/api/referral-code/", token=access)
    yield call(shape.port, "GET", f"/api/referrals/{user.pk}/", token=access)
    yield call(shape.port, "POST", "/auth/jwt/refresh/", {"refresh": pair["refresh"]})


def test_an_emptied_redis_loses_nothing_that_lasts(production):
    """F7"""
    load = production.load("flush")
    with load.running(), redis(production) as client:
        for _time in range(3):
            time.sleep(0.5)
            client.flushall()
    production.check(load)
    assert load.answers()[503] == 0


def test_a_slow_redis_slows_down_and_breaks_nothing(production):
    """F7: a fifth of a second each way"""
    load = production.load("slow")
    production.to_redis.delay(0.2)
    with load.running():
        time.sleep(3)
    production.to_redis.heal()
    production.check(load)
    assert load.answers()[503] == 0


@pytest.fixture(scope="module")
def running_unlimited_production(postgres, django_db_blocker) -> Iterator[Production]:
    with django_db_blocker.unblock(), shapes.production(postgres, web=1, **NO_LIMITS) as shape:
        yield shape


@pytest.fixture
def unlimited_production(running_unlimited_production) -> Iterator[Production]:
    with models_at(running_unlimited_production.service.database_url):
        yield running_unlimited_production


@pytest.mark.parametrize("fault", FAULTS)
def test_without_redis_codes_are_looked_up_in_the_database_and_deleted(unlimited_production, fault):
    """F7: where no limit is set, Redis is the cache and no more."""
    shape = unlimited_production
    code = make_code(make_user())
    pair = shape.sign_in(code.owner)
    look_up = partial(call, shape.port, "GET", f"/api/referral-code/{code.code}/")
    with struck_by(fault, shape):
        began = time.monotonic()
        assert [look_up().body["code"] for _twice in range(2)] == [code.code] * 2
        assert call(shape.port, "DELETE", "/api/referral-code/", token=pair["access"]).status == 204
        print(f"{fault}: two look-ups and a deletion took {time.monotonic() - began:.1f} s")
    until(shape.is_ready)
    assert look_up().status == 404


@pytest.mark.parametrize("fault", ["gone", "read-only", "silent"])
def test_without_a_broker_sign_ups_and_code_mails_are_taken_and_delivered_after_its_return(unlimited_production, fault):
    """F7: where no limit is set, Redis is the broker and no more."""
    shape = unlimited_production
    name = "broker-" + fault
    load = shape.load(name)
    with struck_by(fault, shape), load.running(4):
        time.sleep(3)
    refused = {seen.call for seen in load.seen if seen.status in (503, None)}
    assert refused <= {"read"}  # a code that is not there is counted as a guess, limits or none
    assert load.answers()[201] > 2
    slowest = max(seen.seconds for seen in load.seen)
    shape.check(load)
    sent = OutgoingEmail.objects.filter(to__startswith=name, subject__startswith="Confirm").count()
    assert sent == len({address for address in shape.mail_server.brought if address.startswith(name)})
    print(f"broker {fault}: the slowest answer took {slowest:.1f} s")
