"""How a start goes: what stops it, what is said about that, and what is made up where nothing is given."""

import fcntl
import json
import os
import re
import secrets
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from config.environment import parse_limits
from config.secrets import make_up_secrets
from config.tests.live import PRODUCTION, ROOT

KEYS = {"SECRET_KEY": "k" * 50, "JWT_SIGNING_KEY": "j" * 32}
POSTMARK = {"EMAIL_PROVIDER": "postmark", "ANYMAIL_POSTMARK_SERVER_TOKEN": "0123"}
RANDOM_KEYS = {"SECRET_KEY": secrets.token_urlsafe(48), "JWT_SIGNING_KEY": secrets.token_urlsafe(48)}
START = "import django; django.setup()"
TELL = """
import json
from django.conf import settings
names = "SECRET_KEY JWT_SIGNING_KEY PUBLIC_URL ALLOWED_HOSTS DEBUG EMAIL_HOST_PASSWORD ANYMAIL CELERY_TASK_ALWAYS_EAGER"
print(json.dumps({name: getattr(settings, name) for name in names.split()} | {
    "hasher": settings.PASSWORD_HASHERS[0],
    "mail": [settings.EMAIL_BACKEND, settings.EMAIL_DELIVERY_BACKEND],
    "database": {name: settings.DATABASES["default"].get(name) for name in ("ENGINE", "NAME", "PASSWORD")},
}))
"""


def process(folder: Path, script: str, **environment: str) -> subprocess.Popen[str]:
    """A process of the service that knows of nothing but `environment` and the `.env` in `folder`."""
    known = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "config.settings", "ENV_FILE": f"{folder}/.env"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=known | environment, umask=0, **pipes)


def complaints_of(folder: Path, script: str = START, **environment: str) -> dict[str, str]:
    """What is said about each name at a start that is refused."""
    running = process(folder, script, **environment)
    told, complaints = running.communicate(timeout=60)
    first, *lines = complaints.splitlines()
    assert (running.returncode, told) == (1, ""), complaints
    assert first == "The service does not start: settings are wrong."
    assert all(line.startswith("  ") for line in lines)  # and so there is no traceback
    return {name: line for line in lines for name in line.partition(":")[0].replace(",", "").split()}


def settings_of(folder: Path, **environment: str) -> dict:
    running = process(folder, TELL, **environment)
    told, complaints = running.communicate(timeout=60)
    assert running.returncode == 0, complaints
    return json.loads(told)


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        (
            {
                "PORT": "hunter2",
                "WEB_WORKERS": "0",
                "WEB_THREADS": "1.5",
                "DEBUG": "hunter2",
                "LANGUAGE_CODE": "hunter2",
                "EMAIL_PORT": "70000",
                "EMAIL_TIMEOUT": "0",
                "EMAIL_USE_TLS": "hunter2",
                "THROTTLE_MAIL_CLIENT": "hunter2",
                "THROTTLE_MAIL_MAILBOX": "3/hunter2",
                "DATABASE_URL": "nonsense://user:hunter2@host/db",
            },
            "PORT WEB_WORKERS WEB_THREADS DEBUG LANGUAGE_CODE EMAIL_PORT EMAIL_TIMEOUT EMAIL_USE_TLS "
            "THROTTLE_MAIL_CLIENT THROTTLE_MAIL_MAILBOX DATABASE_URL",
        ),
        (
            {
                "SECRET_KEY": "hunter2",
                "JWT_SIGNING_KEY": "hunter2",
                "DATABASE_URL": "mysql://user:hunter2@host/db",
                "PUBLIC_URL": "ftp://hunter2",
                "REDIS_URL": "hunter2",
                "EMAIL_USE_TLS": "true",
                "EMAIL_USE_SSL": "true",
            },
            "SECRET_KEY JWT_SIGNING_KEY DATABASE_URL PUBLIC_URL REDIS_URL EMAIL_USE_TLS, EMAIL_USE_SSL",
        ),
        ({"SECRET_KEY": "k" * 49, "JWT_SIGNING_KEY": "j" * 31}, "SECRET_KEY JWT_SIGNING_KEY"),
        ({"SECRET_KEY": "k" * 50, "JWT_SIGNING_KEY": "k" * 50}, "JWT_SIGNING_KEY"),
        (
            {"PORT": "hunter2", "SECRET_KEY": "hunter2", "PUBLIC_URL": "ftp://hunter2", "REDIS_URL": "hunter2"},
            "PORT SECRET_KEY PUBLIC_URL REDIS_URL",
        ),
        ({"DATABASE_URL": "hunter2"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgres://user:hunter2@host:hunter2/db"}, "DATABASE_URL"),
        ({"PUBLIC_URL": "http://[hunter2"}, "PUBLIC_URL"),
        ({"PUBLIC_URL": "https://"}, "PUBLIC_URL"),
        ({"PGBOUNCER": "hunter2"}, "PGBOUNCER"),
        ({"PGBOUNCER": "true"}, "PGBOUNCER"),  # with SQLite
        ({"EMAIL_PROVIDER": "hunter2"}, "EMAIL_PROVIDER"),
        ({"EMAIL_PROVIDER": "console"}, "EMAIL_PROVIDER"),
        ({"EMAIL_PROVIDER": "test"}, "EMAIL_PROVIDER"),
        ({"EMAIL_PROVIDER": "base_requests"}, "EMAIL_PROVIDER"),
        (POSTMARK | {"EMAIL_HOST": "hunter2"}, "EMAIL_PROVIDER, EMAIL_HOST"),
        ({"EMAIL_PROVIDER": "postmark"}, "EMAIL_PROVIDER"),
        ({"EMAIL_PROVIDER": "amazon_ses"}, "EMAIL_PROVIDER"),  # its client is not part of the requirements
        (POSTMARK | {"ANYMAIL_SEND_DEFAULTS": "{hunter2"}, "ANYMAIL_SEND_DEFAULTS"),
        ({"MAIL_RETENTION_DAYS": "6", "AUDIT_RETENTION_DAYS": "89"}, "MAIL_RETENTION_DAYS AUDIT_RETENTION_DAYS"),
        ({"MAIL_RETENTION_DAYS": "-1", "AUDIT_RETENTION_DAYS": "1e9"}, "MAIL_RETENTION_DAYS AUDIT_RETENTION_DAYS"),
        ({"PUBLIC_URL": "http://refer.example.com:hunter2"}, "PUBLIC_URL"),
        (
            {"ATTRIBUTION_WINDOW_DAYS": "366", "CLICK_RETENTION_DAYS": "-1"},
            "ATTRIBUTION_WINDOW_DAYS CLICK_RETENTION_DAYS",
        ),
        ({"SIGNUP_URL": "hunter2.example.com/join"}, "SIGNUP_URL"),
        ({"SIGNUP_URL": "javascript:hunter2()"}, "SIGNUP_URL"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_its_name_and_without_its_value(tmp_path, environment, names):
    """S1, S9"""
    complaints = complaints_of(tmp_path, **KEYS | environment)
    assert complaints.keys() == set(names.replace(",", "").split())
    assert not [v for v in ("hunter2", "k" * 31, "j" * 31, "70000") if any(v in line for line in complaints.values())]


def test_a_setting_is_read_from_the_file_that_is_named(tmp_path):
    """S3"""
    password = "pa$$ word, of a file"
    for name, text in RANDOM_KEYS.items():
        (tmp_path / name).write_text(f"{text}\n")
    (tmp_path / "password").write_text(password)
    (tmp_path / "database").write_text("postgres://user:x@127.0.0.1/of_a_file\n")
    (tmp_path / ".env").write_text(f"EMAIL_HOST_PASSWORD_FILE={tmp_path}/password\nSECRET_KEY=\n")
    told = settings_of(
        tmp_path,
        SECRET_KEY_FILE=f"{tmp_path}/SECRET_KEY",
        JWT_SIGNING_KEY_FILE=f"{tmp_path}/JWT_SIGNING_KEY",
        DATABASE_URL_FILE=f"{tmp_path}/database",
    )
    assert {name: told[name] for name in RANDOM_KEYS} == RANDOM_KEYS
    assert told["EMAIL_HOST_PASSWORD"] == password
    assert told["database"]["NAME"] == "of_a_file"


def test_a_file_that_cannot_be_read_or_that_is_one_too_many_stops_the_start(tmp_path):
    """S3"""
    (tmp_path / "binary").write_bytes(b"\xff\x00")
    (tmp_path / "lines").write_text("two\nlines")
    (tmp_path / "redis").write_text("redis://:hunter2@127.0.0.1/0")
    complaints = complaints_of(
        tmp_path,
        SECRET_KEY_FILE=f"{tmp_path}/none",
        JWT_SIGNING_KEY_FILE=str(tmp_path),
        EMAIL_HOST_USER_FILE=f"{tmp_path}/binary",
        EMAIL_HOST_PASSWORD_FILE=f"{tmp_path}/lines",
        REDIS_URL_FILE=f"{tmp_path}/redis",
        REDIS_URL="redis://:hunter2@127.0.0.1/1",
    )
    assert set(complaints) == {
        "SECRET_KEY",
        "JWT_SIGNING_KEY",
        "EMAIL_HOST_USER",
        "EMAIL_HOST_PASSWORD",
        "REDIS_URL",
    }
    assert "SECRET_KEY_FILE" in complaints["SECRET_KEY"]
    assert "not both" in complaints["REDIS_URL"]
    assert "hunter2" not in str(complaints)


@pytest.mark.parametrize("content", [b"SECRET_KEY=\xff", b"SECRET_KEY=a\0b", None])
def test_an_env_file_that_cannot_be_read_stops_the_start(tmp_path, content):
    """S9"""
    file = tmp_path / ".env"
    file.mkdir() if content is None else file.write_bytes(content)
    assert complaints_of(tmp_path).keys() == {"ENV_FILE"}


def test_where_made_up_secrets_cannot_be_kept_none_are_made_up(tmp_path):
    """S1, S9"""
    assert "ENV_FILE" in complaints_of(tmp_path, ENV_FILE=f"{tmp_path}/none/.env")


def test_the_deployment_passes_djangos_own_check(tmp_path):
    """S2"""
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    known = {"PATH": os.environ["PATH"], "ENV_FILE": os.devnull, "EMAIL_FILE_PATH": str(tmp_path)}
    environment = known | RANDOM_KEYS | PRODUCTION
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    source = (ROOT / "config/settings.py").read_text("utf-8")
    silenced = source.split("SILENCED_SYSTEM_CHECKS = [\n")[1].split("\n]")[0].splitlines()
    assert all(re.fullmatch(r' +"\w+\.W\d{3}",  # .{30,}', line) for line in silenced)


def test_production_starts_with_no_secret_made_up(tmp_path):
    """S1, S8"""
    running = process(tmp_path, START, DATABASE_URL="postgres://user:x@127.0.0.1/db")
    _told, complaints = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "  SECRET_KEY: " in complaints
    assert "  JWT_SIGNING_KEY: " in complaints
    assert list(tmp_path.iterdir()) == []


def test_a_fresh_clone_starts_with_secrets_that_every_process_shares(tmp_path):
    """S1: however many start at once, and at the next start too."""
    started = [process(tmp_path, TELL) for _process in range(4)]
    told = [json.loads(running.communicate(timeout=60)[0]) for running in started]
    told.append(settings_of(tmp_path))
    assert len({(settings["SECRET_KEY"], settings["JWT_SIGNING_KEY"]) for settings in told}) == 1
    assert len({told[0]["SECRET_KEY"], told[0]["JWT_SIGNING_KEY"]}) == 2
    assert min(len(told[0]["SECRET_KEY"]), len(told[0]["JWT_SIGNING_KEY"])) == 64
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert (tmp_path / ".env").read_text().count("SECRET_KEY=") == 1


def test_who_makes_up_secrets_waits_for_another_who_does(tmp_path):
    """S1"""
    with ThreadPoolExecutor(1) as pool, (tmp_path / ".env").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        made_up = pool.submit(make_up_secrets, tmp_path / ".env", ["SECRET_KEY"])
        with pytest.raises(TimeoutError):
            made_up.result(timeout=0.5)
        file.write("SECRET_KEY=of-the-first\n")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_UN)
        assert made_up.result(timeout=30) == {"SECRET_KEY": "of-the-first"}


def test_a_missing_secret_is_added_to_an_env_file_and_the_rest_is_kept(tmp_path):
    file = tmp_path / ".env"
    file.write_text(f"# mine\nSECRET_KEY={'m' * 60}\nJWT_SIGNING_KEY=\nPORT=8100")
    file.chmod(0o644)
    told = settings_of(tmp_path)
    assert told["SECRET_KEY"] == "m" * 60
    assert len(told["JWT_SIGNING_KEY"]) == 64
    assert told["PUBLIC_URL"] == "http://127.0.0.1:8100"
    assert file.read_text().startswith(f"# mine\nSECRET_KEY={'m' * 60}\nJWT_SIGNING_KEY=\nPORT=8100\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert settings_of(tmp_path) == told


def test_an_env_file_is_read_to_the_letter_and_the_environment_goes_before_it(tmp_path):
    """A `$` in a password names no variable."""
    (tmp_path / ".env").write_text(
        "DATABASE_URL=postgres://user:pa$HOME$$x@host/db\n"
        "EMAIL_HOST_PASSWORD='${HOME} $HOME #1'\n"
        "PUBLIC_URL=https://file.example.com\n"
    )
    told = settings_of(tmp_path, HOME="/expanded", PUBLIC_URL="http://refer.example.com/", **KEYS)
    assert told["database"] == {"ENGINE": "django.db.backends.postgresql", "NAME": "db", "PASSWORD": "pa$HOME$$x"}
    assert told["EMAIL_HOST_PASSWORD"] == "${HOME} $HOME #1"
    assert told["PUBLIC_URL"] == "http://refer.example.com"
    assert "refer.example.com" in told["ALLOWED_HOSTS"]


def test_the_embedded_default_is_safe_to_show_to_others(tmp_path):
    """H8, U3: no debug pages, Argon2, mail as files, tasks in the process, no host but this one."""
    told = settings_of(tmp_path, DATABASE_URL="", **KEYS)  # blank, as in a copy of `.env.example`
    assert (told["DEBUG"], told["CELERY_TASK_ALWAYS_EAGER"]) == (False, True)
    assert told["hasher"] == "users.hashers.Argon2idHasher"
    assert told["mail"] == ["users.mail.QueueBackend", "django.core.mail.backends.filebased.EmailBackend"]
    assert told["database"]["ENGINE"] == "django.db.backends.sqlite3"
    assert told["PUBLIC_URL"] == "http://127.0.0.1:8000"
    assert set(told["ALLOWED_HOSTS"]) == {"localhost", "127.0.0.1", "[::1]"}


def test_a_provider_of_mail_gets_every_variable_of_its_own_and_no_more_time_than_a_mail_server(tmp_path):
    """A token may be all digits; and what is sent and answered is never printed."""
    told = settings_of(
        tmp_path,
        **KEYS,
        **POSTMARK,
        ANYMAIL_POSTMARK_MESSAGE_STREAM="",
        ANYMAIL_IGNORE_UNSUPPORTED_FEATURES="true",
        ANYMAIL_SEND_DEFAULTS='{"track_opens": false}',
        ANYMAIL_DEBUG_API_REQUESTS="true",
        ANYMAIL_REQUESTS_TIMEOUT="x",
        EMAIL_TIMEOUT="7",
        MAIL_RETENTION_DAYS="0",
    )
    assert told["mail"] == ["users.mail.QueueBackend", "anymail.backends.postmark.EmailBackend"]
    assert told["ANYMAIL"] == {
        "POSTMARK_SERVER_TOKEN": "0123",
        "IGNORE_UNSUPPORTED_FEATURES": True,
        "SEND_DEFAULTS": {"track_opens": False},
        "DEBUG_API_REQUESTS": False,
        "REQUESTS_TIMEOUT": 7,
    }


@pytest.mark.parametrize(
    ("host", "url"),
    [(".".join("0000"), "http://127.0.0.1:80"), ("::", "http://127.0.0.1:80"), ("::1", "http://[::1]:80")],
)
def test_where_no_public_url_is_given_it_is_where_the_service_listens(tmp_path, host, url):
    assert settings_of(tmp_path, HOST=host, PORT="80", **KEYS)["PUBLIC_URL"] == url


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("0", []),
        (" 0 ", []),
        ("3/hour", [(3, 3600)]),
        ("3/hour,10/day", [(3, 3600), (10, 86400)]),
        ("10/15minute,1/2day", [(10, 900), (1, 172_800)]),
        (" 1/minute , 2/hour ", [(1, 60), (2, 3600)]),
    ],
)
def test_a_limit_is_written_as_people_say_it(text, limits):
    assert parse_limits(text) == limits


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "/hour",
        "3/",
        "3/week",
        "0/hour",
        "-1/hour",
        "3/hour,",
        "3/hour/day",
        "x/hour",
        "1.5/hour",
        "00",
        "3/0hour",
        "3/hours",
    ],
)
def test_a_limit_that_cannot_be_read_is_refused(text):
    """S9"""
    with pytest.raises(Exception, match="Write 0 for no limit"):
        parse_limits(text)


def test_an_sqlite_that_cannot_say_what_it_inserted_is_refused_where_it_would_be_used(tmp_path):
    old = f"import sqlite3; sqlite3.sqlite_version_info, sqlite3.sqlite_version = (3, 34, 1), '3.34.1'; {START}"
    assert "3.34.1" in complaints_of(tmp_path, old)["DATABASE_URL"]
    running = process(tmp_path, old, DATABASE_URL="postgres://user@localhost/name", **KEYS)
    running.communicate(timeout=60)
    assert running.returncode == 0
