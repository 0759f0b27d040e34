"""Codes that are kept in Redis for who looks them up: how long, until what, and never for what a write decides."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone
from redis import Redis

from config.api import metrics
from config.tests.at_once import models_at
from config.tests.live import free_port, running_service
from referrals import cache, services
from referrals.errors import InvalidCode
from referrals.models import Referral, ReferralCode
from referrals.tests.factories import PASSWORD, make_code, make_expired_code
from users.models import User
from users.tests.factories import make_user
from users.tests.test_admin import USERS, form_of

pytestmark = pytest.mark.django_db(transaction=True)

CODE = "ADA-2030"
PATH = f"/api/referral-code/{CODE}/"
KEY = "referral_service:1:code:2:ADA2030"


@pytest.fixture
def redis(settings, valkey) -> Redis:
    settings.REDIS_URL = valkey
    use_redis(settings)
    client = Redis.from_url(valkey, decode_responses=True)
    client.flushall()
    return client


def use_redis(settings) -> None:
    """Have the cache where `REDIS_URL` says, with all else as the service has it."""
    settings.CACHES = {"default": settings.REDIS_CACHE | {"LOCATION": [settings.REDIS_URL]}}


@pytest.fixture
def ada(redis) -> User:
    """The owner of the code that all is about here, which ends tomorrow."""
    ada = make_user(username="ada")
    make_code(ada, wish=CODE)
    return ada


def looked_up(api) -> tuple[int, str | None]:
    response = api.get(PATH)
    return response.status_code, response.json().get("referrer", {}).get("username")


def outcomes() -> dict[str, float]:
    [family] = metrics.CODE_CACHE.collect()
    return {s.labels["outcome"]: s.value for s in family.samples if s.name.endswith("_total")}


@contextmanager
def counted(**more: int) -> Iterator[None]:
    """See that so many outcomes are counted in the block."""
    before = outcomes()
    yield
    assert {
        name: count - before.get(name, 0) for name, count in outcomes().items() if count > before.get(name, 0)
    } == more


# --- what is kept ---


def test_who_looks_a_kept_code_up_gets_the_same_answer_without_a_query(api, ada, django_assert_num_queries):
    with counted(miss=1, hit=2):
        first = api.get(PATH)
        with django_assert_num_queries(0):
            again, otherwise_typed = api.get(PATH), api.get("/api/referral-code/ada%202o3o/")
    assert first.status_code == 200
    for response in (again, otherwise_typed):
        assert response.content == first.content
        assert dict(response.headers) | {"X-Request-ID": ""} == dict(first.headers) | {"X-Request-ID": ""}


def test_the_page_of_a_share_link_is_made_of_what_is_kept(client, api, ada, django_assert_num_queries):
    client.get(f"/r/{CODE}")
    with counted(hit=2), django_assert_num_queries(0):
        assert "ada" in client.get(f"/r/{CODE}").content.decode()
        assert looked_up(api) == (200, "ada")


def test_what_is_shown_is_kept_as_text_with_the_numbers_of_the_rows_and_nothing_else(api, ada, redis):
    api.get(PATH)
    assert redis.keys() == [KEY]
    code, kept = ada.referral_codes.get(), json.loads(redis.get(KEY))
    shown = {"code": CODE, "username": "ada", "expires_at": code.expires_at.isoformat()}
    assert kept == {"id": code.pk, "owner_id": ada.pk} | shown


def test_an_answer_to_a_wrong_code_is_not_kept(api, redis):
    """B11: nor is there a way for strangers to fill Redis."""
    make_expired_code(code="EXPIRED")
    make_code(make_user(is_active=False), wish="BLOCKED")
    answers = {
        api.get(f"/api/referral-code/{code}/").json()["code"] for code in ("EXPIRED", "BLOCKED", "UNKNOWN", "%00")
    }
    assert answers == {"no_active_code"}
    assert redis.keys("*code*") == []


@pytest.mark.parametrize(("left", "kept_for"), [(3600, 60), (40.5, 40), (0.9, None)])
def test_a_code_is_kept_for_a_minute_and_not_past_its_end(api, ada, redis, monkeypatch, left, kept_for):
    found = cache.read("ADA2030")
    monkeypatch.setattr(cache, "_read", lambda folded: (found, left))
    redis.config_resetstat()
    assert looked_up(api) == (200, "ada")
    assert ("cmdstat_set" in redis.info("commandstats")) == (kept_for is not None)
    assert not kept_for or kept_for - 10 < redis.ttl(KEY) <= kept_for


def test_by_the_clock_of_the_database_a_code_is_kept_not_by_ours(api, ada, redis, monkeypatch):
    """F12"""
    ReferralCode.objects.update(expires_at=timezone.now() + timedelta(seconds=30))
    monkeypatch.setattr(timezone, "now", lambda: ada.registered_at - timedelta(days=1))
    assert looked_up(api) == (200, "ada")
    assert redis.ttl(KEY) <= 30


# --- what ends it ---


def browser_of_staff() -> Client:
    browser = Client()
    browser.force_login(make_user(is_staff=True, is_superuser=True))
    return browser


def in_admin(ada: User, **changes: object) -> None:
    response = browser_of_staff().post(f"{USERS}{ada.pk}/change/", form_of(ada, **changes))
    assert response.status_code == 302


CHANGES: dict[str, tuple[Callable, tuple[int, str | None]]] = {
    "deleting it": (lambda me, ada: me.delete("/api/referral-code/"), (404, None)),
    "closing the account": (
        lambda me, ada: me.delete("/auth/users/me/", {"current_password": PASSWORD}),
        (404, None),
    ),
    "renaming oneself": (lambda me, ada: me.patch("/auth/users/me/", {"username": "lovelace"}), (200, "lovelace")),
    "renaming by staff": (lambda me, ada: in_admin(ada, username="lovelace"), (200, "lovelace")),
    "blocking": (lambda me, ada: in_admin(ada, is_active=None), (404, None)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_a_code_ends_what_is_kept_of_it(api, as_user, ada, change):
    make, shown = CHANGES[change]
    assert looked_up(api) == (200, "ada")
    make(as_user(ada), ada)
    assert [looked_up(api) for _twice in range(2)] == [shown] * 2


def test_who_is_no_longer_blocked_is_shown_again_at_once(api, ada):
    looked_up(api)
    in_admin(ada, is_active=None)
    assert looked_up(api) == (404, None)
    ada.refresh_from_db()
    in_admin(ada, is_active="on")
    assert looked_up(api) == (200, "ada")


def test_the_same_code_made_anew_is_shown_as_it_is_now(api, as_user, ada):
    looked_up(api)
    me = as_user(ada)
    assert me.delete("/api/referral-code/").status_code == 204
    assert me.post("/api/referral-code/", {"code": CODE, "expiration_date": "2030-01-01"}).status_code == 201
    assert api.get(PATH).json()["expiration_date"].startswith("2030-01-01")


def test_of_a_change_that_is_undone_nothing_is_dropped(api, ada, redis):
    looked_up(api)
    with suppress(ZeroDivisionError), transaction.atomic():
        services.retire_code(ada)
        raise ZeroDivisionError
    with counted(hit=1):
        assert looked_up(api) == (200, "ada")


def test_a_change_is_dropped_when_it_is_committed_and_no_sooner(api, ada, redis):
    looked_up(api)
    with transaction.atomic():
        services.retire_code(ada)
        assert redis.get(KEY) != "null"
    assert redis.get(KEY) == "null"


def between(reading_and_keeping: Callable[[], object], monkeypatch) -> None:
    """Hold the next reader up after it has read the code, until that is done."""
    keep = cache._keep

    def held_up(*read):
        monkeypatch.setattr(cache, "_keep", keep)
        reading_and_keeping()
        keep(*read)

    monkeypatch.setattr(cache, "_keep", held_up)


def test_who_read_a_code_before_its_deletion_does_not_keep_it_after(api, ada, redis, monkeypatch):
    between(partial(services.retire_code, ada), monkeypatch)
    assert looked_up(api) == (200, "ada")  # which it was, when it was read
    assert looked_up(api) == (404, None)


@pytest.mark.parametrize(("seconds", "kept_for"), [(4, 56), (10.5, None)])
def test_what_was_read_some_time_ago_is_kept_for_less_or_not_at_all(api, ada, redis, monkeypatch, seconds, kept_for):
    """By the end of a tombstone nobody is left who read the row before it."""
    assert cache.OLDEST + 1 < cache.TOMBSTONE_LIFE
    now = cache.time.monotonic
    between(lambda: monkeypatch.setattr(cache.time, "monotonic", lambda: now() + seconds), monkeypatch)
    assert looked_up(api) == (200, "ada")
    assert redis.exists(KEY) == (kept_for is not None)
    assert redis.ttl(KEY) <= (kept_for or 0)


def test_while_a_tombstone_stands_the_database_is_asked_and_nothing_kept(api, ada, redis):
    cache.drop("ADA2030")
    assert 10 < redis.ttl(KEY) <= cache.TOMBSTONE_LIFE
    with counted(miss=2):
        assert [looked_up(api) for _twice in range(2)] == [(200, "ada")] * 2
    assert redis.get(KEY) == "null"


@pytest.mark.slow
def test_all_processes_share_what_is_kept_and_its_end(redis, settings):
    with running_service(REDIS_URL=settings.REDIS_URL) as service, models_at(service.database_url):
        code = make_code(wish=CODE)
        statuses = lambda: {status_of(service.url + PATH) for _time in range(20)}  # noqa: E731 (asked for anew each time)
        assert statuses() == {200}
        ReferralCode.objects.update(retired_at=timezone.now())
        assert statuses() == {200}
        ReferralCode.objects.update(retired_at=None)
        services.retire_code(code.owner)
        assert statuses() == {404}


def status_of(url: str) -> int:
    try:
        with urlopen(url) as answer:
            return answer.status
    except HTTPError as error:
        return error.code


# --- what it never decides ---


def test_no_write_believes_what_is_kept(api, as_user, ada, redis):
    """C9: a code that ended behind the back of the cache is shown for a minute, and brings nobody."""
    looked_up(api)
    ReferralCode.objects.update(retired_at=timezone.now())
    assert looked_up(api) == (200, "ada")
    new = {"email": "linus@example.com", "password": PASSWORD, "referral_code": CODE}
    claimant = as_user(make_user())
    for refused in (
        api.post("/api/register-with-referral/", new),
        api.post("/auth/users/", new),
        claimant.post("/api/referrals/claim/", {"referral_code": CODE}),
        api.get("/auth/o/github/", {"redirect_uri": "https://app.example.com/back", "referral_code": CODE}),
    ):
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, "invalid_code")
    with pytest.raises(InvalidCode):
        services.register(**new)
    assert not User.objects.filter(email="linus@example.com").exists()
    assert not Referral.objects.exists()


# --- without it ---


@pytest.fixture(params=["gone", "silent", "read-only"])
def trouble(request, redis, settings) -> Iterator[str]:
    """What is wrong with Redis."""
    if request.param == "read-only":
        redis.replicaof("127.0.0.1", free_port())
        yield request.param
        redis.replicaof("NO", "ONE")
        return
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        port = silent.getsockname()[1] if request.param == "silent" else free_port()
        settings.REDIS_URL = f"redis://127.0.0.1:{port}/0"
        use_redis(settings)
        yield request.param


def test_without_redis_the_database_answers(api, ada, trouble, django_assert_num_queries):
    """F7, where no limit is set: see `faults/test_redis.py` for where one is (T4)."""
    with counted(error=2, **({"miss": 2} if trouble == "read-only" else {})):
        for _twice in range(2):
            with django_assert_num_queries(1):
                assert looked_up(api) == (200, "ada")


def test_without_redis_a_code_is_deleted_all_the_same(api, as_user, ada, trouble, caplog):
    """F7"""
    with counted(error=1):
        assert as_user(ada).delete("/api/referral-code/").status_code == 204
    assert [r.levelname for r in caplog.records if r.name == "referrals.cache"] == ["WARNING"]
    assert not ReferralCode.objects.active().exists()


def test_what_could_not_be_dropped_ends_within_the_minute(api, as_user, ada, redis):
    """F7: Redis takes no writes for a while."""
    looked_up(api)
    redis.replicaof("127.0.0.1", free_port())
    assert as_user(ada).delete("/api/referral-code/").status_code == 204
    redis.replicaof("NO", "ONE")
    assert looked_up(api) == (200, "ada")
    assert 0 < redis.ttl(KEY) <= cache.LIFE
    redis.delete(KEY)  # as its end does
    assert looked_up(api) == (404, None)


def test_where_no_redis_is_set_nothing_is_kept_or_counted(api, django_assert_num_queries):
    make_code(make_user(username="ada"), wish=CODE)
    with counted():
        for _twice in range(2):
            with django_assert_num_queries(1):
                assert looked_up(api) == (200, "ada")
