"""What settings may be: what is unsafe in production, and whatever else can stand in them."""

import secrets
from email.utils import parseaddr
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
from django.core import signing
from django.core.cache.backends.redis import RedisCache
from django.core.mail import EmailMessage
from django.db import connections
from django.db.backends.postgresql.base import DatabaseWrapper
from django.http.request import validate_host
from hypothesis import HealthCheck, given, settings as how, strategies as st
from kombu.utils.url import parse_url
from psycopg.conninfo import make_conninfo
from redis import Redis

from config.tests.live import PRODUCTION, ROOT
from config.tests.starts import RANDOM_KEYS, WEAK_KEYS, RefusedError, complaints_of, settings_of

# --- In production ---


POSTGRES = {"DATABASE_URL": "postgres://user:hunter2@127.0.0.1/db"}
REDIS = {"REDIS_URL": "redis://127.0.0.1"}
REPLICA = {"DATABASE_REPLICA_URL": "postgres://user:hunter2@127.0.0.2/db"}
IN_THE_OPEN = {"PUBLIC_URL": "https://refer.example.com"}


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({}, ""),
        (POSTGRES | REDIS | {"EMAIL_HOST": "smtp.example.com"}, ""),
        (POSTGRES | REDIS | REPLICA, ""),
        (POSTGRES | REPLICA, "DATABASE_REPLICA_URL"),
        (REPLICA, "DATABASE_REPLICA_URL"),
        (REDIS | REPLICA, "DATABASE_URL DATABASE_REPLICA_URL"),
        (POSTGRES | REDIS | {"DATABASE_REPLICA_URL": "sqlite:////tmp/hunter2"}, "DATABASE_REPLICA_URL"),
        (POSTGRES | REDIS | {"DATABASE_REPLICA_URL": "hunter2"}, "DATABASE_REPLICA_URL"),
        ({"SECRET_KEY": f"django-insecure-{secrets.token_urlsafe(48)}"}, "SECRET_KEY"),
        ({"SECRET_KEY": "hunter2" * 10}, "SECRET_KEY"),
        ({"SECRET_KEY": "k" * 50}, "SECRET_KEY"),
        ({"SECRET_KEY": "hunter2"}, "SECRET_KEY"),
        ({"SECRET_KEY_FALLBACKS": f"{secrets.token_urlsafe(48)},{'hunter2' * 10}"}, "SECRET_KEY_FALLBACKS"),
        ({"JWT_SIGNING_KEY": "change-me-" * 10}, "JWT_SIGNING_KEY"),
        ({"JWT_PREVIOUS_KEY": "hunter2" * 10}, "JWT_PREVIOUS_KEY"),
        ({"JWT_SIGNING_KEY": RANDOM_KEYS["SECRET_KEY"]}, "JWT_SIGNING_KEY"),
        ({"DEBUG": "true"}, "DEBUG"),
        ({"ALLOWED_HOSTS": "*"}, "ALLOWED_HOSTS"),
        ({"ALLOWED_HOSTS": "."}, "ALLOWED_HOSTS"),
        ({"ALLOWED_HOSTS": "refer.example.org,*.example.com"}, "ALLOWED_HOSTS"),
        ({"CORS_ORIGINS": "*"}, "CORS_ORIGINS"),
        ({"CORS_ORIGINS": "null"}, "CORS_ORIGINS"),
        ({"CORS_ORIGINS": "https://*.example.com"}, "CORS_ORIGINS"),
        ({"CORS_ORIGINS": "https://app.example.com/"}, "CORS_ORIGINS"),
        ({"CORS_ORIGINS": "http://app.example.com"}, "CORS_ORIGINS"),
        ({"CORS_ORIGINS": "https://app.example.com,http://localhost:3000"}, ""),
        ({"SIGNUP_URL": "http://app.example.com/join"}, "SIGNUP_URL"),
        ({"SIGNUP_URL": "https://app.example.com/join?plan=free"}, ""),
        (REDIS, "DATABASE_URL"),
        ({"TRUSTED_PROXIES": ""}, "TRUSTED_PROXIES"),
        ({"TRUSTED_PROXIES": "10.0.0.1,::/0"}, "TRUSTED_PROXIES"),
        ({"TRUSTED_PROXIES": "0.0.0.0/0"}, "TRUSTED_PROXIES"),
        ({"EMAIL_FILE_PATH": ""}, "EMAIL_HOST"),
        ({"DEFAULT_FROM_EMAIL": "Referral service <noreply@localhost>"}, "DEFAULT_FROM_EMAIL"),
        ({"DEFAULT_FROM_EMAIL": ""}, "DEFAULT_FROM_EMAIL"),
        ({"OAUTH_REDIRECT_URIS": "https://app.example.com/back,http://app.example.com/back"}, "OAUTH_REDIRECT_URIS"),
        ({"OAUTH_REDIRECT_URIS": "https://app.example.com/back,http://127.0.0.1:8100/back"}, ""),
        ({"GOOGLE_CLIENT_ID": "hunter2", "OAUTH_REDIRECT_URIS": "https://app.example.com/back"}, "GOOGLE_*"),
    ],
)
def test_production_does_not_start_with_what_is_unsafe_there(environment, names):
    """S1"""
    safe = RANDOM_KEYS | PRODUCTION | {"EMAIL_FILE_PATH": "sent_emails"}
    if not names:
        assert settings_of(safe | environment)["PRODUCTION"]
        return
    complaints = complaints_of(safe | environment)
    assert complaints.keys() == set(names.split())
    assert not [line for line in complaints.values() if "hunter2" in line]


def test_production_tells_all_that_is_missing_at_once():
    """S1"""
    assert complaints_of(WEAK_KEYS | IN_THE_OPEN | POSTGRES | {"DEBUG": "true"}).keys() == {
        "SECRET_KEY",
        "JWT_SIGNING_KEY",
        "DEBUG",
        "TRUSTED_PROXIES",
        "EMAIL_HOST",
    }


def test_debug_pages_are_not_shown_over_a_database_of_several_machines():
    """S1, H8"""
    assert complaints_of(WEAK_KEYS | POSTGRES | {"DEBUG": "true"}).keys() == {"DEBUG"}


# --- Whatever stands in them ---

SETTINGS = sorted(
    line[2:].partition("=")[0]
    for line in (ROOT / ".env.example").read_text("utf-8").splitlines()
    if line[2:].partition("=")[0].isupper() and line.startswith("# ")
)

NASTY = [
    "*",
    ".",
    "..",
    "/",
    "//",
    "?",
    "#",
    "%",
    "%00",
    "%0a",
    "@",
    ":",
    "::",
    "[",
    "]",
    "[::1]",
    "[::1",
    "]:80",
    ",",
    ",,",
    ";",
    "=",
    "\\",
    "'",
    '"',
    "`",
    "$",
    "${HOME}",
    "{{HOME}}",
    "<",
    ">",
    "|",
    "&",
    "~",
    "~/x",
    "../..",
    "/dev/null",
    "0",
    "-1",
    "1",
    "00",
    "1.5",
    "1e9",
    "٣",
    "99999999999999999999",
    "true",
    "false",
    "yes",
    "None",
    "null",
    "nan",
    "inf",
    "127.0.0.1",
    "0.0.0.0/0",
    "::/0",
    "10.0.0.0/8",
    "10.0.0.1/8",
    "localhost",
    "example.com",
    "-example.com",
    "example..com",
    "münchen.example",
    ".example.com",
    "example.com.",
    "a@b",
    "a@example.com",
    "postgres://",
    "postgres://h/d",
    "postgres://h:1/d?sslmode=bogus",
    "postgres://h/d?nonsense=1",
    "postgres://h/d?pool=true",
    "postgres://h/d?isolation_level=9",
    "postgres://u%00:p@h/d",
    "postgres://h/d?sslmode=require&sslmode=disable",
    "postgres://%zz/d",
    "mysql://h/d",
    "sqlite://",
    "sqlite://:memory:",
    "sqlite:///no/such/folder/x",
    "sqlite:////tmp",
    "sqlite:////tmp/x?timeout=x",
    "sqlite:///%00",
    "redis://",
    "redis://h",
    "redis://h/x",
    "redis://h/0?nonsense=1",
    "redis://h:99999",
    "redis://h/0?socket_timeout=x",
    "redis://h/-1",
    "rediss://h/1",
    "http://",
    "https://",
    "http://h",
    "https://h",
    "https://h/",
    "https://h/p",
    "https://h:443",
    "https://H",
    "https://u:p@h",
    "https://h?x",
    "https://h#x",
    "https://h:0",
    "https://h:",
    "https://[::1]",
    "https://[::1",
    "javascript:alert(1)",
    "file:///etc/passwd",
    "ssh-rsa",
    "3/hour",
    "3/week",
    "0/hour",
]
LONG = [
    " ", "\n", "a\nb", "a\r\nBcc: x@example.com", "A <a@example.com>, B <b@example.com>", "A <a@example.com>\u2028",
    "\x1b[31m", "\udcff", "x" * 300, "k" * 50, "9" * 5000, "a." * 200, "/x" * 3000, "ssh-rsa " * 10, "é" * 60,
    "-----BEGIN PUBLIC KEY-----" * 3, "A b <a b@example.com>", "postgres://h/" + "d" * 64,
]  # fmt: skip
characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.sampled_from("\udc80\udcff,:/@.*")
values = (
    st.sampled_from(NASTY + LONG)
    | st.text(characters, max_size=60)
    | st.lists(st.sampled_from(NASTY + LONG), min_size=2, max_size=3).map("".join)
)


HINTS = (ROOT / "config/settings.py").read_text("utf-8")


@given(name=st.sampled_from(SETTINGS), value=values)
@how(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_value_of_any_setting_is_refused_by_name_or_is_good_for_use(name, value):
    """S9: no traceback at the start, and nothing that fails later."""
    environment = RANDOM_KEYS | PRODUCTION | POSTGRES | REDIS | {"EMAIL_FILE_PATH": "sent_emails"} | {name: value}
    said: dict[str, str] = {}
    try:
        put_to_use(settings_of(environment))
    except RefusedError as refusal:
        said = refusal.said
    assert not said or any(name in line or name.startswith(about.rstrip("*")) for about, line in said.items()), said
    assert len(value) < 9 or value in HINTS or value not in str(said)


def put_to_use(settings: dict[str, Any]) -> None:
    """What is done with settings later, as far as it needs nobody to answer."""
    hosts = settings["ALLOWED_HOSTS"]
    assert all(validate_host(host, hosts) for host in ("127.0.0.1", urlsplit(settings["PUBLIC_URL"]).hostname))
    assert not validate_host("evil.test", hosts)
    message = EmailMessage("Subject", "Body", settings["DEFAULT_FROM_EMAIL"], ["a@example.com"]).message()
    assert [name for name in message if name in ("Bcc", "Cc")] == []
    assert "@" in parseaddr(str(message["From"]))[1]
    ip_address(settings["HOST"])
    for name in ("EMAIL_HOST_USER", "EMAIL_HOST_PASSWORD"):
        settings[name].encode("ascii")
    settings["EMAIL_HOST"].encode("idna")
    signer = signing.TimestampSigner(key=settings["SECRET_KEY"], fallback_keys=settings["SECRET_KEY_FALLBACKS"])
    assert signer.unsign(signer.sign("x")) == "x"
    for key in (settings["JWT_SIGNING_KEY"], settings["JWT_PREVIOUS_KEY"] or "j" * 32):
        assert jwt.decode(jwt.encode({}, key, "HS256"), key, ["HS256"]) == {}
    if settings["REDIS_URL"]:
        Redis.from_url(settings["REDIS_URL"]).connection_pool.make_connection()
        assert parse_url(settings["REDIS_URL"])["transport"] in ("redis", "rediss")
        cache = settings["CACHES"]["default"]
        RedisCache(cache["LOCATION"], cache)._cache.get_client().connection_pool.make_connection()
    for database in connections.configure_settings(settings["DATABASES"]).values():
        if database["ENGINE"] != "django.db.backends.postgresql":
            continue
        connection = DatabaseWrapper(database, "any")
        parameters = connection.get_connection_params()
        of_psycopg = ("context", "cursor_factory", "prepare_threshold")
        make_conninfo(**{name: v for name, v in parameters.items() if name not in of_psycopg})
