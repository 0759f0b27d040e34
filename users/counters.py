"""Counters that hold however many requests come at once: in Redis where it is set, in the database otherwise.

A counter is named by its key and ends at a moment in epoch seconds. Each call is atomic. Raises LimitsUnavailable while
Redis does not answer.
"""

from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from typing import Any

from django.conf import settings
from django.db.models import F, Sum
from redis import Redis, RedisError

from config.api import metrics
from users.errors import LimitsUnavailable
from users.models import Usage

MOST = 2**31 - 1
"""What a counter in the database can hold, and the last second that some libraries know."""

RAISE = """
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('EXPIREAT', KEYS[1], ARGV[2]) end
if count > tonumber(ARGV[1]) then redis.call('DECR', KEYS[1]) return 0 end
return 1
"""
LOWER = "if tonumber(redis.call('GET', KEYS[1]) or 0) > 0 then redis.call('DECR', KEYS[1]) end"


def count(key: str, most: int, ends: int) -> bool:
    """Count one; false, and nothing counted, where there are `most` already."""
    if settings.REDIS_URL:
        return bool(_redis(RAISE, key, most, ends))
    usage = Usage.objects.filter(key=key, count__lt=most)
    if usage.update(count=F("count") + 1):
        return True
    Usage.objects.bulk_create([Usage(key=key, ends_at=datetime.fromtimestamp(ends, UTC))], ignore_conflicts=True)
    return bool(usage.update(count=F("count") + 1))


def add_up(name: str) -> None:
    """Count one of what is counted for ever, over all machines. It is no limit: a store that is away is no refusal."""
    with suppress(LimitsUnavailable):
        count(f"ever:{name}", MOST, MOST)


def ever(name: str) -> int:
    return total([f"ever:{name}"])


def uncount(key: str) -> None:
    """Take one back."""
    if settings.REDIS_URL:
        _redis(LOWER, key)
    else:
        Usage.objects.filter(key=key, count__gt=0).update(count=F("count") - 1)


def reset(key: str) -> None:
    if settings.REDIS_URL:
        _redis("redis.call('DEL', KEYS[1])", key)
    else:
        Usage.objects.filter(key=key).update(count=0)


def total(keys: list[str]) -> int:
    """How many there are together; a counter that never was, or that ended, has none."""
    if settings.REDIS_URL:
        return sum(int(_redis("return redis.call('GET', KEYS[1])", key) or 0) for key in keys)
    return Usage.objects.filter(key__in=keys).aggregate(total=Sum("count", default=0))["total"]


def _redis(script: str, key: str, *arguments: int) -> Any:
    try:
        return _connection(settings.REDIS_URL).eval(script, 1, f"usage:{key}", *arguments)
    except RedisError:
        metrics.LIMITER_UNAVAILABLE.inc()
        raise LimitsUnavailable from None


@cache
def _connection(url: str) -> "Redis":
    return Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1)
