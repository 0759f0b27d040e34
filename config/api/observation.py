"""What is noted of each request and each query: in the metrics, and of requests in a log line."""

import logging
import re
import time
from collections.abc import Callable
from functools import cache
from threading import Lock
from typing import Any

from django.conf import settings
from django.contrib.admindocs.views import simplify_regex
from django.core.signals import request_finished
from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse

from config.api import context, metrics

logger = logging.getLogger("access")

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
WATCHED = {"/healthz", "/readyz", "/metrics"}  # asked for all the time, and told of only when they fail


class ObservationMiddleware:
    """Counts and times requests, and writes one line for each: never its path, which may hold a secret."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        began = time.perf_counter()
        metrics.IN_PROGRESS.inc()
        try:
            response = self.get_response(request)
        finally:
            metrics.IN_PROGRESS.dec()
        took = time.perf_counter() - began
        method, route = method_of(request), context.route.get() or _elsewhere(request)
        metrics.REQUESTS.labels(method, route, str(response.status_code)).inc()
        metrics.REQUEST_SECONDS.labels(method, route).observe(took)
        if route not in WATCHED or response.status_code >= 400:
            said = {"method": method, "route": route, "status": response.status_code}
            said |= {"duration_ms": round(took * 1000, 1), "client": context.client_pseudonym()}
            logger.info("answered", extra=said)
        return response

    def process_view(self, request: HttpRequest, *view: Any) -> None:
        if request.resolver_match:
            context.route.set(_readable(request.resolver_match.route))


def method_of(request: HttpRequest) -> str:
    """One of a few, whatever strangers make up."""
    return request.method if request.method in METHODS else "other"


def _elsewhere(request: HttpRequest) -> str:
    return "static" if request.path_info.startswith(settings.STATIC_URL) else "none"


@cache
def _readable(route: str) -> str:
    """`api/referrals/(?P<pk>[0-9]+)/$` as `/api/referrals/<pk>/`."""
    return re.sub(r"<\w+:", "<", simplify_regex(route))


def _timed(execute: Callable[..., Any], sql: str, params: Any, many: bool, here: dict[str, Any]) -> Any:
    database = here["connection"].alias
    began = time.perf_counter()
    try:
        return execute(sql, params, many, here)
    except Error as error:
        metrics.DATABASE_ERRORS.labels(database, type(error).__name__).inc()
        raise
    finally:
        metrics.QUERY_SECONDS.labels(database).observe(time.perf_counter() - began)


_noted: dict[str, tuple[int, int, int]] = {}
_noting = Lock()


@receiver(connection_created)
def time_queries(connection: BaseDatabaseWrapper, **signal: Any) -> None:
    if _timed not in connection.execute_wrappers:
        connection.execute_wrappers.insert(0, _timed)  # whoever else adds one takes off the last


@receiver(request_finished)
def note_pools(**signal: Any) -> None:
    """Once a request has given its connections back: how much of the pools of this process is in use."""
    for connection in connections.all(initialized_only=True):
        note_pool(connection)


def note_pool(connection: BaseDatabaseWrapper) -> None:
    """Only PostgreSQL has pools, and only where settings say so."""
    pool = getattr(connection, "pool", None)
    if pool is None:
        return
    alias = connection.alias
    with _noting:  # else an older number could be told last, and stay
        stats = pool.get_stats()
        idle = stats.get("pool_available", 0)
        used, waiting = stats.get("pool_size", 0) - idle, stats.get("requests_waiting", 0)
        if _noted.get(alias) == (idle, used, waiting):
            return
        _noted[alias] = idle, used, waiting
        metrics.POOL_CONNECTIONS.labels(alias, "idle").set(idle)
        metrics.POOL_CONNECTIONS.labels(alias, "used").set(used)
        metrics.POOL_WAITING.labels(alias).set(waiting)
