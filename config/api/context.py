"""What is known of a request wherever its work is done: its id, and who sent it."""

import ipaddress
import logging
from collections.abc import Callable
from contextvars import ContextVar
from functools import lru_cache
from uuid import uuid4

from celery import current_task
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import salted_hmac

from config.api.remembering import Remembered

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The same in a request's log lines, its error body and its answer."""

client: ContextVar[str] = ContextVar("client", default="")
"""The network that a request came from, as `network_of` writes it; empty where there is no request."""

user_id: ContextVar[int | None] = ContextVar("user_id", default=None)
"""Whom a request was found to come from; set by whatever finds out."""

route: ContextVar[str] = ContextVar("route", default="")
"""The pattern of the address that is asked for, once it is known: `/api/referrals/<pk>/`."""


def client_pseudonym(key: str | None = None) -> str:
    """What is kept of the client where it is kept: 32 hex digits, the same for the same network, under our key."""
    here = client.get()
    return _pseudonym(here, key or settings.SECRET_KEY) if here else ""


@lru_cache(maxsize=1024)
def _pseudonym(network: str, key: str) -> str:
    return salted_hmac("config.api.client", network, secret=key, algorithm="sha256").hexdigest()[:32]


def client_pseudonyms() -> list[str]:
    """What can have been kept of this client, under our key or one of those before it."""
    return [client_pseudonym(key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]


class ContextFilter(logging.Filter):
    """Gives every log line what is known of the request or the task it belongs to."""

    def filter(self, record: logging.LogRecord) -> bool:
        here = {"request_id": request_id.get(), "user_id": user_id.get(), "route": route.get() or None}
        if current_task:
            here |= {"task_id": current_task.request.id, "task": current_task.name}
        record.__dict__ = here | record.__dict__
        return True


class RequestContextMiddleware:
    """Names each request, tells who sent it, and repeats the name in the `X-Request-ID` of its answer.

    A trusted proxy is taken at its word about TLS too, in `X-Forwarded-Proto`; anybody else speaks for themselves.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        name = uuid4().hex
        tokens = request_id.set(name), client.set(network_of(request)), user_id.set(None), route.set("")
        if request.META.get("HTTP_X_FORWARDED_PROTO") == "https" and _is_trusted(_peer(request)):
            request.META["wsgi.url_scheme"] = "https"
        try:
            response = self.get_response(request)
        finally:
            request_id.reset(tokens[0])
            client.reset(tokens[1])
            user_id.reset(tokens[2])
            route.reset(tokens[3])
        response.headers["X-Request-ID"] = name
        return response


def network_of(request: HttpRequest) -> str:
    """The address of the client, an IPv6 one as its /64: that is what one customer of a provider has.

    A trusted proxy is taken at its word about who came to it: `X-Forwarded-For` is read from its end for as long as
    those who wrote it are in `TRUSTED_PROXIES`. No other header is read for it.
    """
    hops = [part.strip() for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")]
    address = _peer(request)
    while address and hops and _is_trusted(address):
        if (before := _address(hops.pop())) is None:
            break
        address = before
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return str(address or "")


def _peer(request: HttpRequest) -> Address | None:
    return _address(request.META.get("REMOTE_ADDR", ""))


def _is_trusted(address: Address | None) -> bool:
    return address is not None and any(address in proxies for proxies in settings.TRUSTED_PROXIES)


@Remembered
def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
