"""Whether the service lives, and whether what it stands on answers."""

import logging

from django.conf import settings
from django.db import Error, connection
from django.http import HttpRequest, JsonResponse
from redis import Redis, RedisError

logger = logging.getLogger(__name__)


def healthz(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """200 when the database, and Redis where it is set, answer; else 503 with the names of those that do not."""
    checks = {"database": _database_answers, "redis": _redis_answers}
    failing = [name for name, answers in checks.items() if not answers()]
    return JsonResponse(
        {"status": "unavailable" if failing else "ok", "failing": failing}, status=503 if failing else 200
    )


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        logger.warning("readyz: the database does not answer")
        return False
    return True


def _redis_answers() -> bool:
    if not settings.REDIS_URL:
        return True
    try:
        with Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2, socket_timeout=2) as redis:
            redis.ping()
    except RedisError:
        logger.warning("readyz: Redis does not answer")
        return False
    return True
