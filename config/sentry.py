"""Errors told to Sentry, where there is one: what went wrong and where, and nothing of whom it went wrong for."""

import re
from typing import Any

from config.logs import masked

DSN = re.compile(r"https?://[!-~]+@[\w.:\[\]-]+(/[!-~]*)?/\d+", re.ASCII)


def is_dsn(value: str) -> bool:
    """Whether it is like https://key@sentry.example.com/1, with nothing missing."""
    return bool(DSN.fullmatch(value))


def start(dsn: str) -> None:
    import sentry_sdk  # who has no Sentry does not wait for it
    from sentry_sdk.integrations.celery import CeleryIntegration
    from sentry_sdk.integrations.django import DjangoIntegration

    sentry_sdk.init(
        dsn,
        integrations=[DjangoIntegration(transaction_style="url", cache_spans=False), CeleryIntegration()],
        auto_enabling_integrations=False,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        traces_sample_rate=None,
        auto_session_tracking=False,
        send_client_reports=False,
        before_send=tidied,
    )


def tidied(event: Any, hint: dict[str, Any]) -> Any:
    """What is sent of an event: of its request the method alone, of a person the id, of a task the name."""
    from config.api import context  # settings, which import this, have to be there first

    method = event.pop("request", {}).get("method")
    for name in ("user", "extra", "modules"):
        event.pop(name, None)
    event = masked(event)
    event["tags"] = {**event.get("tags", {}), "request_id": context.request_id.get(), "method": method or "-"}
    if (user_id := context.user_id.get()) is not None:
        event["user"] = {"id": str(user_id)}
    return event
