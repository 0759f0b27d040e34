"""Metrics: who may read them, that they are right over all processes, and that dashboard and documentation fit them."""

import json
import os
import re
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from django.db import DatabaseError, OperationalError, connection, transaction
from django.db.utils import load_backend
from prometheus_client.parser import text_string_to_metric_families

from config.api import metrics
from config.api.observation import note_pool
from config.tests.live import ROOT, Service, running_service
from referrals.tests.factories import tomorrow
from users.models import MailRequest, OutgoingEmail
from users.tests.factories import PASSWORD, make_user

TOKEN = "only-for-tests-of-metrics"
METRIC = re.compile(r"\breferral_[a-z_]+\b")
BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/133.0"}


def sent(service: Service, method: str, path: str, body: dict | None = None, **headers: str) -> int:
    data = json.dumps(body).encode() if body is not None else None
    if data:
        headers["Content-Type"] = "application/json"
    try:
        with urlopen(Request(service.url + path, data, headers, method=method)) as answer:
            return answer.status
    except HTTPError as error:
        return error.code


class Read(dict):
    """Samples by their name and labels."""

    def __init__(self, text: str) -> None:
        self.names: set[str] = set()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self.names.add(sample.name)
                self[sample.name, frozenset(sample.labels.items())] = sample.value

    def of(self, name: str, **labels: str) -> float:
        """The sum over all samples that have at least these labels."""
        return sum(value for (its, of), value in self.items() if its == name and labels.items() <= dict(of).items())


def read(service: Service) -> Read:
    with urlopen(Request(f"{service.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return Read(answer.read().decode())


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("setting", "header", "status"),
    [
        ("", f"Bearer {TOKEN}", 404),
        ("", "Bearer ", 404),
        (TOKEN, "", 401),
        (TOKEN, "Bearer ", 401),
        (TOKEN, f"Bearer {TOKEN[:-1]}", 401),
        (TOKEN, f"Basic {TOKEN}", 401),
        (TOKEN, "Bearer tökén", 401),
        (TOKEN, f"Bearer {TOKEN}", 200),
        (TOKEN, f"bearer {TOKEN}", 200),
    ],
)
def test_metrics_are_for_who_brings_the_token(api, settings, setting, header, status):
    settings.METRICS_TOKEN = setting
    response = api.get("/metrics", HTTP_AUTHORIZATION=header)
    assert response.status_code == status
    assert ("referral_" in response.text) is (status == 200)


def exposed() -> Read:
    return Read(metrics.exposition().decode())


@pytest.mark.django_db
def test_the_queue_is_told_as_it_is(mailbox):
    OutgoingEmail.objects.create(to="x", subject="x", message={})
    MailRequest.objects.create(compose="x", email="x")
    told = exposed()
    assert told.of("referral_mail_queue_depth", queue="mails") == 1
    assert told.of("referral_mail_queue_depth", queue="requests") == 1
    assert 0 <= told.of("referral_mail_queue_oldest_seconds", queue="mails") < 600
    assert told.of("referral_up", part="database") == 1


@pytest.mark.django_db
def test_of_a_long_queue_no_more_is_read_than_tells_that_it_is_long(monkeypatch):
    monkeypatch.setattr("users.metrics.MOST", 3)
    OutgoingEmail.objects.bulk_create([OutgoingEmail(to="x", subject="x", message={}) for _one in range(5)])
    assert exposed().of("referral_mail_queue_depth", queue="mails") == 3


@pytest.mark.django_db
def test_what_becomes_of_mails_is_counted(store, mailbox, api, monkeypatch):
    """Wherever they are delivered: the counts are kept in the store of the limits."""
    api.post("/auth/users/", {"email": "grace@example.com", "password": PASSWORD})
    before = exposed()
    mailbox()
    assert exposed().of("referral_mails_total", outcome="sent") == before.of("referral_mails_total") + 1
    monkeypatch.setattr("users.tasks.MOST_TRIES", 2)
    api.post("/auth/users/", {"email": "ada@example.com", "password": PASSWORD})
    monkeypatch.setattr("django.core.mail.backends.locmem.EmailBackend.send_messages", lambda *_: 1 / 0)
    for _try in range(2):
        OutgoingEmail.objects.update(next_try_at="2026-01-01T00:00Z")
        mailbox()
    assert exposed().of("referral_mails_total", outcome="put_off") == 1
    assert exposed().of("referral_mails_total", outcome="failed") == 1


@pytest.mark.django_db
def test_a_database_that_fails_fails_no_reading():
    def fail(*arguments):
        raise OperationalError("the database went away")

    with connection.execute_wrapper(fail):
        told = exposed()
    assert told.of("referral_up", part="database") == 0
    assert told.of("referral_up", part="counters") == 0
    assert "referral_mail_queue_depth" not in told.names
    assert "referral_registrations_total" in told.names


@pytest.mark.django_db
def test_counters_that_fail_fail_no_reading_and_no_mail(settings, mailbox, api):
    api.post("/auth/users/", {"email": "grace@example.com", "password": PASSWORD})
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    assert len(mailbox()) == 1
    told = exposed()
    assert (told.of("referral_up", part="counters"), told.of("referral_up", part="database")) == (0, 1)
    assert told.of("referral_limiter_unavailable_total") >= 1


@pytest.mark.django_db(transaction=True)
def test_a_registration_that_is_undone_is_not_counted(api):
    before = exposed()
    body = {"email": "grace@example.com", "password": PASSWORD}
    assert [api.post("/auth/users/", body).status_code for _twice in range(2)] == [201, 400]
    assert exposed().of("referral_registrations_total") == before.of("referral_registrations_total") + 1


@pytest.mark.postgres
@pytest.mark.django_db
def test_a_pool_tells_how_much_of_it_is_in_use():
    settings = connection.settings_dict | {"OPTIONS": {"pool": {"min_size": 2, "max_size": 2}}, "CONN_MAX_AGE": 0}
    pooled = load_backend(settings["ENGINE"]).DatabaseWrapper(settings, "pooled")
    try:
        pooled.pool.open(wait=True)
        for used in (0, 1, 0):
            note_pool(pooled)
            told = exposed()
            assert told.of("referral_database_pool_connections", database="pooled", state="used") == used
            assert told.of("referral_database_pool_connections", database="pooled") == 2
            assert told.of("referral_database_pool_requests_waiting", database="pooled") == 0
            if used:
                pooled.close()
            else:
                pooled.ensure_connection()
    finally:
        pooled.close()
        pooled.close_pool()


# --- the running service, with several processes ---


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> Iterator[Service]:
    """A service with a folder of its own for temporary files."""
    folder = tmp_path_factory.mktemp("temporary")
    with running_service(
        workers=3, METRICS_TOKEN=TOKEN, TMPDIR=str(folder), THROTTLE_EXPORT="1/hour", PYTHONDONTWRITEBYTECODE="1"
    ) as service:
        service.temporary = folder
        yield service
    assert list(folder.iterdir()) == []  # it has cleaned up


def children(service: Service) -> list[int]:
    [file] = Path(service.temporary).glob("referral-metrics-*")
    assert stat.S_IMODE(file.stat().st_mode) == 0o700
    pids = {int(part.stem.rpartition("_")[2]) for part in file.glob("counter_*.db")}
    parents = {pid: int(Path(f"/proc/{pid}/stat").read_text().split(") ")[1].split()[1]) for pid in pids if alive(pid)}
    return [pid for pid, parent in parents.items() if parent in parents]


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.slow
def test_each_request_is_counted_once_whichever_process_it_comes_to_and_whoever_dies(watched):
    before = read(watched)
    for _request in range(40):
        assert sent(watched, "GET", "/redoc/") == 200
    counted = read(watched)
    assert counted.of("referral_http_requests_total", route="/redoc/", status="200", method="GET") == 40
    assert counted.of("referral_http_request_duration_seconds_count", route="/redoc/") == 40
    assert counted.of("referral_http_requests_in_progress") == 1  # this one
    for pid in children(watched):
        os.kill(pid, signal.SIGKILL)
        while alive(pid) and "Z" not in Path(f"/proc/{pid}/stat").read_text().split(") ")[1][:1]:
            time.sleep(0.05)
    for _look in range(200):
        try:
            if sent(watched, "GET", "/redoc/") == 200:
                break
        except OSError:
            time.sleep(0.1)
    for _request in range(20):
        assert sent(watched, "GET", "/redoc/") == 200
    after = read(watched)
    assert after.of("referral_http_requests_total", route="/redoc/") == 61
    assert after.of("referral_http_requests_in_progress") == 1
    assert all(after[key] >= value for key, value in before.items() if key[0].endswith(("_total", "_count", "_bucket")))


@pytest.mark.slow
def test_strangers_cannot_make_up_labels(watched):
    for number in range(30):
        sent(watched, "GET", f"/made-up-{number}/x@y")
        sent(watched, f"MADE{number}", "/redoc/")
        sent(watched, "GET", f"/api/referral-code/CODE{number}/")
    labels = {value for name, of in read(watched) for value in dict(of).values()}
    assert not [value for value in labels if "made" in value.lower() or "CODE" in value]
    assert {"none", "other", "/api/referral-code/<code>/"} < labels


def sample_of_everything(service: Service) -> None:
    """Do a little of all that is counted."""
    address = f"{time.time_ns()}@example.com"
    body = {"email": address, "password": PASSWORD}
    assert sent(service, "POST", "/auth/users/", body) == 201
    with urlopen(
        Request(
            f"{service.url}/auth/jwt/create/", json.dumps(body).encode(), headers={"Content-Type": "application/json"}
        )
    ) as answer:
        access = json.load(answer)["access"]
    code = {"expiration_date": tomorrow().isoformat(), "code": f"C{time.time_ns()}"}
    assert sent(service, "POST", "/api/referral-code/", code, Authorization=f"Bearer {access}") == 201
    brought = {"email": f"b{address}", "password": PASSWORD, "referral_code": code["code"]}
    assert sent(service, "POST", "/api/register-with-referral/", brought) == 201
    assert sent(service, "POST", "/auth/jwt/create/", body | {"password": "wrong"}) == 401
    exports = [sent(service, "GET", "/auth/users/me/export/", Authorization=f"Bearer {access}") for _twice in range(2)]
    assert exports == [200, 429]
    counted = read(service).of("referral_clicks_total", outcome="counted")
    assert sent(service, "GET", f"/r/{code['code']}", **BROWSER) == 200
    while read(service).of("referral_clicks_total", outcome="counted") == counted:
        time.sleep(0.1)  # clicks are written twice a second


@pytest.mark.slow
def test_what_happens_is_counted(watched):
    before = read(watched)
    sample_of_everything(watched)
    after = read(watched)

    def more(name: str, **labels: str) -> float:
        return after.of(name, **labels) - before.of(name, **labels)

    assert more("referral_registrations_total") == 2
    assert more("referral_referrals_total") == 1
    assert more("referral_account_events_total", kind="signed_in") == 1
    assert more("referral_account_events_total", kind="sign_in_failed") == 1
    assert more("referral_limiter_uses_total", bucket="export", outcome="refused") == 1
    assert more("referral_limiter_uses_total", bucket="sign-up", outcome="allowed") == 2
    assert more("referral_mails_total", outcome="sent") == 2
    assert more("referral_clicks_total", outcome="counted") == 1
    assert more("referral_database_query_duration_seconds_count", database="default") > 10


LATER = {"referral_database_errors", "referral_code_cache", "referral_replica_reads"}  # there once there is one
OF_POOLS = {"referral_database_pool_connections", "referral_database_pool_requests_waiting"}


def written_in(path: str) -> set[str]:
    """The metrics that a file names, without the endings of histograms."""
    return {re.sub("_(bucket|count|sum)$", "", name) for name in METRIC.findall((ROOT / path).read_text())}


@pytest.mark.slow
@pytest.mark.parametrize("path", ["deploy/grafana-dashboard.json", "deploy/prometheus-alerts.yml"])
def test_dashboard_and_alerts_ask_for_metrics_that_there_are(watched, path):
    sample_of_everything(watched)
    told = {re.sub("_(bucket|count|sum)$", "", name) for name in read(watched).names}
    told |= {f"{name}_total" for name in LATER}
    told |= OF_POOLS if connection.vendor == "sqlite" else set()
    assert written_in(path) - told == set()
    assert len(written_in(path)) > 5


def defined() -> set[str]:
    families = [*metrics.OWN.collect(), *metrics._AskedWhenRead().collect()]
    return {family.name + ("_total" if family.type == "counter" else "") for family in families}


@pytest.mark.django_db
def test_the_documentation_has_every_metric_and_no_other():
    rows = re.findall(r"(?m)^\| `(referral_[a-z_]+)` \|", (ROOT / "docs/operations.md").read_text())
    assert sorted(rows) == sorted(defined())


def test_each_alert_says_what_to_do_about_it():
    alerts = re.findall(r"(?m)- alert: (\w+)$", (ROOT / "deploy/prometheus-alerts.yml").read_text())
    rows = re.findall(r"(?m)^\| `(Referral\w+)` \|", (ROOT / "docs/operations.md").read_text())
    assert alerts == rows


def test_the_dashboard_is_one_that_grafana_takes():
    dashboard = json.loads((ROOT / "deploy/grafana-dashboard.json").read_text())
    assert dashboard["uid"]
    assert dashboard["schemaVersion"] >= 36
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids)) >= 8
    for panel in dashboard["panels"]:
        assert panel["title"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert all(target["expr"].count("(") == target["expr"].count(")") for target in panel["targets"])


@pytest.mark.django_db
def test_who_is_signed_in_makes_no_label(as_user):
    as_user(make_user()).get("/auth/users/me/")
    assert exposed().of("referral_http_requests_total", route="/auth/users/me/", method="GET", status="200") >= 1


@pytest.mark.django_db
def test_methods_that_strangers_make_up_are_one_label(client):
    before = exposed().of("referral_http_requests_total", method="other")
    for method in ("FROB", "XYZZY"):
        client.generic(method, "/nowhere/")
    after = exposed()
    assert after.of("referral_http_requests_total", method="other") == before + 2
    assert not [labels for _name, labels in after if dict(labels).get("method") in ("FROB", "XYZZY")]


@pytest.mark.django_db
def test_a_query_that_fails_is_counted_by_its_kind():
    before = exposed().of("referral_database_errors_total")
    with pytest.raises(DatabaseError) as failed, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT what_there_is_not")
    kind = failed.type.__name__
    assert exposed().of("referral_database_errors_total", database="default", error=kind) >= 1
    assert exposed().of("referral_database_errors_total") == before + 1
