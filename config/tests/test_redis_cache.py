"""The cache in Redis keeps its clients, and is else as Django's is."""

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest
from django.core.cache import caches
from redis import Redis


@pytest.fixture
def redis(settings, valkey) -> Redis:
    settings.CACHES = {"default": settings.REDIS_CACHE | {"LOCATION": [valkey]}}
    client = Redis.from_url(valkey)
    client.flushall()
    return client


def connections_made(redis: Redis) -> int:
    return redis.info("stats")["total_connections_received"]


def test_one_client_and_one_connection_of_it_do_for_all_calls_of_a_thread(redis):
    cache = caches["default"]
    cache.set("a", 0)
    before = connections_made(redis)
    for number in range(5):
        cache.set("a", number)
        assert cache.get("a") == number
        assert not cache.add("a", 7)
        assert cache.get_many(["a", "b"]) == {"a": number}
        assert cache.delete("a")
        caches.close_all()  # as at the end of each request
    assert connections_made(redis) == before
    assert cache._cache.get_client() is cache._cache.get_client("a", write=True)


def test_each_thread_has_a_client_of_its_own(redis):
    def client_of_a_thread() -> object:
        caches["default"].set("a", 1)
        return caches["default"]._cache.get_client()

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        first, second = one.submit(client_of_a_thread), other.submit(client_of_a_thread)
        again = one.submit(client_of_a_thread)
        assert first.result() is again.result() is not second.result()


def test_a_client_whose_connection_is_gone_makes_another(redis):
    cache = caches["default"]
    cache.set("a", 1)
    redis.client_kill_filter(skipme=True, _type="normal")
    assert cache.get("a") == 1


def test_a_fork_takes_another_connection_than_its_parent(redis):
    """Two who read from one would get each other's answers."""
    cache = caches["default"]
    cache.set("a", 1)
    with ProcessPoolExecutor(1, get_context("fork")) as child:
        assert child.submit(_connection_of, "a").result() != _connection_of("a")


def _connection_of(key: str) -> int:
    assert caches["default"].get(key) == 1
    return caches["default"]._cache.get_client().client_id()
