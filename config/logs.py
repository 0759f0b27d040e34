"""Log lines: one for each record, as text or as JSON, without secrets and addresses whatever they were told."""

import json
import logging
import re
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from typing import Any

from config.api.remembering import Remembered

HIDDEN = "[hidden]"
_ADDRESS_PART = r'[^\s"<>(),;:\[\]\\]'  # what an address may be made of, unless it is quoted (RFC 5322, 3.2.3)
_NAMES = r"(?:passwo?r?d|pwd|secret|token|api[_-]?key|[_-]key|sessionid|csrf|cookie|authorization|credential)"
_MASKS = [
    (re.compile(r"(?i)\b(bearer|basic) +[\w.~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"eyJ[\w-]{5,}(?:\.[\w-]*)*"), HIDDEN),  # a JWT: it begins with {"
    (
        re.compile(r"(?<![\w.=-])[\w.=-]{8,}:[\w-]{5,8}:[\w-]{27,}"),
        HIDDEN,
    ),  # what Django signed, like the token in a link
    (re.compile(r"(/account/[\w-]+/)[^\s\"'<>{]+"), rf"\1{HIDDEN}"),  # the link itself
    (re.compile(r"(\w://)[^\s/]*@"), rf"\1{HIDDEN}@"),  # user and password of a URL
    (re.compile(r"\?[\w%.~+-]+=[^\s\"'<>]*"), f"?{HIDDEN}"),  # a query
    (re.compile(r"(Key \([^)\n]*\)=)\(.*?\)(?= (?:already|is|conflicts)|\.?$)", re.MULTILINE), rf"\1({HIDDEN})"),
    (re.compile(r"(Failing row contains ).*"), rf"\1{HIDDEN}"),  # PostgreSQL quotes all of it
    (
        re.compile(
            rf"(?i)({_NAMES}[\w-]{{0,30}}[\"']?\s{{0,3}}[=:]\s{{0,3}})(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s,;&)\}}\]]+)"
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r'"[^"\n]*"(?:@|%40|[＠﹫])\S+'), HIDDEN),
    (re.compile(rf"(?<!{_ADDRESS_PART}){_ADDRESS_PART}+(?:@|%40|[＠﹫])[^\s\"<>(),;]+"), HIDDEN),
]
_IS_SECRET = re.compile(rf"(?i){_NAMES}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def mask(text: str) -> str:
    """`text` without what nobody is to read in a log: e-mail addresses, tokens, passwords, links, queries."""
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text


def masked(value: Any) -> Any:
    """The same for all texts in a structure as JSON knows it; what is something else becomes text."""
    if isinstance(value, dict):
        names = {name: _name(str(name)) for name in value}
        return {
            shown: HIDDEN if is_secret and value[name] else masked(value[name])
            for name, (shown, is_secret) in names.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [masked(inner) for inner in value]
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and isfinite(value)):
        return value
    text = str(value)
    return _mask_known(text)


_mask_known = Remembered(mask)
"""For what is told in line after line: a route, a method, a client."""


@lru_cache(maxsize=256)
def _name(name: str) -> tuple[str, bool]:
    """How a name is shown, and whether it is one of a secret."""
    return mask(name), bool(_IS_SECRET.search(name))


def _when(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _known(record: logging.LogRecord) -> dict[str, Any]:
    """What is known beside the message; of what else a record may carry, like the request itself, nothing is told."""
    names = ("user_id", "route", "method", "status", "duration_ms", "client", "task", "task_id")
    return {name: value for name in names if (value := getattr(record, name, None)) not in (None, "")}


class TextLines(logging.Formatter):
    """For people: a line, and below it, indented, a traceback. Nothing in it can look like the beginning of a line."""

    def format(self, record: logging.LogRecord) -> str:
        known = "".join(f" {name}={value}" for name, value in masked(_known(record)).items())
        request_id = getattr(record, "request_id", "-")
        line = f"{_when(record)} {record.levelname} {record.name} [{request_id}] {masked(_told(record))}{known}"
        parts = [_visible(line).replace("\n", "\\n").replace("\t", "\\t")]
        if record.exc_info:
            parts.append(_visible(mask(self.formatException(record.exc_info))))
        if record.stack_info:
            parts.append(_visible(mask(self.formatStack(record.stack_info))))
        return "\n".join(parts).replace("\n", "\n  ")


def _told(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # its words and what goes into them do not fit
        return str(record.msg)


def _visible(text: str) -> str:
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class JsonLines(logging.Formatter):
    """For machines: one object a line, in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        ours = {
            "timestamp": _when(record),
            "level": record.levelname,
            "logger": record.name,
            "request_id": getattr(record, "request_id", "-"),
        }
        told = {"message": _told(record), **_known(record)}
        below = [record.exc_info and self.formatException(record.exc_info), record.stack_info]
        if any(below):
            told["traceback"] = "\n".join(filter(None, below))
        return json.dumps(ours | masked(told))
