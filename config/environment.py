"""How a setting is read: the kinds of values there are, and what makes one of them a good one."""

import ipaddress
import json
import os
import re
import zlib
from collections.abc import Callable
from email.utils import getaddresses
from pathlib import Path
from pkgutil import iter_modules
from typing import Any
from urllib.parse import SplitResult, urlsplit

import anymail.backends
import jwt
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from dotenv import dotenv_values
from environs import EnvError, FileAwareEnv, ValidationError as Unfit
from psycopg import ProgrammingError
from psycopg.conninfo import make_conninfo
from redis import Redis

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PERIODS = {"minute": 60, "hour": 3600, "day": 86400}
EMAIL_PROVIDERS = {module.name for module in iter_modules(anymail.backends.__path__)} - {
    *("base", "base_requests", "console", "test"),  # which send nothing
    "sendinblue",  # the old name of brevo
}
LIMIT = re.compile(r"([1-9]\d{0,8})/([1-9]\d?)?(minute|hour|day)", re.ASCII)
NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
VISIBLE = re.compile(r"[\x20-\x7e]*")  # what smtplib can send, and a client's id and secret are made of: RFC 6749, A.1
LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.IGNORECASE | re.ASCII)
PLACEHOLDER = re.compile(
    r"django-insecure-|change[-_ ]?(me|this)|only-for-tests|your[-_ ]|secret[-_ ]key", re.IGNORECASE
)
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
MOST_OF_A_FILE = 64 * 1024


class Environment(FileAwareEnv):
    """Takes each setting from `NAME`, or from the file that `NAME_FILE` names, and collects what is wrong with any."""

    def _get_value(self, env_key: str, default: Any) -> Any:
        value, path = os.environ.get(env_key), os.environ.get(f"{env_key}_FILE")
        if path:
            if value:
                return self._refuse(env_key, f"Give it or {env_key}_FILE, not both.", default)
            try:
                with Path(path).open(encoding="utf-8") as file:
                    value = file.read(MOST_OF_A_FILE).strip()
            except (OSError, ValueError):
                return self._refuse(env_key, f"What {env_key}_FILE names cannot be read.", default)
        if value is None:
            return default
        if NO_TEXT.search(value):
            return self._refuse(env_key, "It has characters that are no text in one line.", default)
        return value

    def _refuse(self, name: str, why: str, default: Any) -> Any:
        self._errors[name].append(why)
        return default


env = Environment(eager=False)


def read_env_file(path: Path) -> str | None:
    """Add what the file says to the environment, which goes before it; what is wrong with it, if anything is."""
    try:
        for name, value in dotenv_values(path, interpolate=False).items():
            os.environ.setdefault(name, value or "")
    except (OSError, ValueError):  # a folder, not UTF-8, a NUL
        return "ENV_FILE: cannot be read as lines of NAME=value in UTF-8."
    return None


@env.parser_for("words")
def parse_words(value: str) -> list[str]:
    return [word for part in value.split(",") if (word := part.strip())]


@env.parser_for("limits")
def parse_limits(value: str) -> list[tuple[int, int]]:
    """Read `3/hour,10/15minute` as [(3, 3600), (10, 900)]: how often, in how many seconds. `0` is no limit."""
    if value.strip() == "0":
        return []
    parts = [LIMIT.fullmatch(part.strip()) for part in value.split(",")]
    if not all(parts):
        raise EnvError("Write 0 for no limit, or like 3/hour,10/15minute.")
    return [(int(part[1]), int(part[2] or 1) * PERIODS[part[3]]) for part in parts if part]


@env.parser_for("networks")
def parse_networks(value: str) -> list[Network]:
    try:
        return [ipaddress.ip_network(word) for word in parse_words(value)]
    except ValueError:
        raise EnvError("Write addresses or networks, like 10.0.0.0/8, with commas between.") from None


@env.parser_for("option")
def parse_option(value: str) -> Any:
    """A flag or an object is written as in JSON. All else is text: a token may be all digits."""
    if value not in ("true", "false") and not value.startswith("{"):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise EnvError("Write it as JSON, since it begins with a brace.") from None


def at_least_or_for_ever(days: int) -> Callable[[int], None]:
    def validate(value: int) -> None:
        if value and not days <= value <= 36_500:
            raise Unfit(f"Write a number of days, {days} or more, or 0 for ever.")

    return validate


def is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def is_host(value: str) -> bool:
    """Whether it is a name or an address that something can be reached by; other scripts in their IDNA form."""
    name = value.removesuffix(".")
    return is_address(value) or (len(name) <= 253 and all(LABEL.fullmatch(label) for label in name.split(".")))


def is_host_pattern(value: str) -> bool:
    """What Django takes as an allowed host, but for the `*` that allows all: `.example.com` is it and all below it."""
    return is_host(value.removeprefix(".")) or (value[:1] == "[" and value[-1:] == "]" and is_address(value[1:-1]))


def is_url(value: str, *schemes: str) -> bool:
    parts = _split(value)
    return bool(parts and parts.scheme in schemes and parts.hostname and is_host(parts.hostname) and " " not in value)


def is_origin(value: str) -> bool:
    """Whether it is an origin as browsers write it: RFC 6454, section 6.1, and no port that goes without saying."""
    parts = _split(value)
    default = {"http": 80, "https": 443}
    return bool(
        parts
        and is_url(value, *default)
        and value == value.lower() == f"{parts.scheme}://{parts.netloc}"
        and "@" not in parts.netloc
        and not parts.netloc.endswith(":")
        and parts.port != default[parts.scheme]
    )


def is_clear_text(url: str) -> bool:
    """Whether what goes to this address can be read on its way, as it cannot on the way to one's own machine."""
    parts = _split(url)
    return parts is not None and parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1")


def is_sender(value: str) -> bool:
    """Whether it is one address, with or without a name before it."""
    try:
        [(_name, address)] = getaddresses([value])
        validate_email(address)
    except (ValueError, ValidationError):
        return False
    return True


def is_guessable(secret: str) -> bool:
    """Whether it is a placeholder, or so regular that it can be pressed into a few bytes; what is random cannot."""
    packed = zlib.compress(secret.encode(), level=9)
    return bool(secret) and (bool(PLACEHOLDER.search(secret)) or len(packed) < min(len(secret), 40))


def is_signing_key(secret: str) -> bool:
    """Whether PyJWT signs with it; what it takes for somebody's public key it does not."""
    try:
        jwt.encode({}, secret, "HS256")
    except jwt.PyJWTError:
        return False
    return True


def is_redis(url: str) -> bool:
    """Whether both the counters and the broker can make sense of it; a query can hold options of Redis clients."""
    parts = _split(url)
    if not parts or not is_url(url, "redis", "rediss") or not re.fullmatch(r"/?|/\d{1,4}", parts.path, re.ASCII):
        return False
    try:
        Redis.from_url(url).connection_pool.make_connection()  # opens none yet
    except Exception:  # whatever an option with a wrong name or value comes to
        return False
    return True


def is_database(database: dict[str, Any]) -> bool:
    """Whether Django can make a connection of it: one of the two engines, all its parts, options that are there."""
    name, options = str(database["NAME"]), database.get("OPTIONS", {})
    texts = [str(database.get(part, "")) for part in ("NAME", "USER", "PASSWORD", "HOST")]
    if any(map(NO_TEXT.search, texts)):
        return False
    if database["ENGINE"] == "django.db.backends.sqlite3":
        return name != ":memory:" and not options and _is_file_to_be(Path(name))
    if not is_postgres(database) or not 0 < len(name.encode()) <= 63:
        return False
    try:
        make_conninfo("", **options)
    except (ProgrammingError, TypeError):
        return False
    return options.get("sslmode", "prefer") in SSL_MODES and not any(isinstance(v, list) for v in options.values())


def is_postgres(database: dict[str, Any]) -> bool:
    return bool(database["ENGINE"] == "django.db.backends.postgresql")


def is_folder_to_be(path: Path) -> bool:
    """Whether it is a folder, or can become one."""
    try:
        there = next(parent for parent in (path, *path.parents) if parent.exists())
        return there.is_dir() and max(len(part.encode()) for part in path.parts) <= 255
    except OSError:  # a name that is too long
        return False


def _is_file_to_be(path: Path) -> bool:
    try:
        return path.parent.is_dir() and not path.is_dir()
    except OSError:
        return False


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        return parts if parts.port != 0 else None
    except ValueError:  # brackets without an end, a port that is none
        return None
