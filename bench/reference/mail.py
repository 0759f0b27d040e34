"""The mail that proves an address, as the service stores it, and the word to the workers that it waits."""

from contextlib import suppress
from email.utils import make_msgid
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import urlsplit
from uuid import uuid4

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

SUBJECT = "Confirm your e-mail address"
TEXT, HTML = (
    Template((Path(__file__).parent / name).read_text("utf-8").removesuffix("\n")) for name in ("mail.txt", "mail.html")
)
QUEUE = "referral_service"
NO_ARGUMENTS = (
    "W1tdLCB7fSwgeyJjYWxsYmFja3MiOiBudWxsLCAiZXJyYmFja3MiOiBudWxsLCAiY2hhaW4iOiBudWxsLCAiY2hvcmQiOiBudWxsfV0="
)


def message(to: str, url: str, public_url: str, sender: str) -> str:
    """What the column `message` holds."""
    parts = {"url": url, "public_url": public_url}
    html = HTML.substitute({name: escape(value) for name, value in parts.items()})
    stored = {
        "subject": SUBJECT,
        "body": TEXT.substitute(parts),
        "from_email": sender,
        "to": [to],
        "cc": [],
        "bcc": [],
        "reply_to": [],
        "extra_headers": {"Message-ID": make_msgid(domain=urlsplit(public_url).hostname)},
        "alternatives": [[html, "text/html"]],
    }
    return orjson.dumps(stored).decode()


async def deliver_soon(redis: "Redis") -> None:
    """Queue the task that a worker of the service delivers waiting mail by. A broker that is away is no loss."""
    task = str(uuid4())
    headers = {
        "lang": "py",
        "task": "users.tasks.deliver_waiting_mail",
        "id": task,
        "root_id": task,
        "parent_id": None,
        "group": None,
        "eta": None,
        "expires": None,
        "retries": 0,
        "timelimit": [540, 480],
        "argsrepr": "()",
        "kwargsrepr": "{}",
        "ignore_result": True,
    }
    properties = {
        "correlation_id": task,
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": QUEUE},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": str(uuid4()),
    }
    envelope = {"body": NO_ARGUMENTS, "content-encoding": "utf-8", "content-type": "application/json"}
    with suppress(RedisError):
        await redis.lpush(QUEUE, orjson.dumps(envelope | {"headers": headers, "properties": properties}))
