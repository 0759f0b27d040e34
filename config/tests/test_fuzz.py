"""Thousands of made-up requests to the real server, good ones and bad ones, each held against the schema."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

SEED = "1"
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "120"))  # of each operation, beside those that cover its schema
PASSWORD = "in no example of the schema"

ENDS_THE_TOKEN = "/auth/jwt/logout_all/"  # and so comes last

LEFT_OUT = [
    # A value can be well-formed and still be refused: a date that is over, a code that nobody has, a common password.
    "positive_data_acceptance",
    # These follow a resource from call to call, or from user to user, by links that the schema does not have;
    # test_authorisation.py does it with a table.
    "use_after_free",
    "ensure_resource_availability",
    "object_level_authorization",
]


@pytest.fixture
def ada(service):
    """Somebody with a code and two referrals: what the requests are made with, and of."""
    with httpx.Client(base_url=service.url) as client:
        person = {"email": "fuzz@example.com", "username": "fuzz", "password": PASSWORD}
        me = client.post("/auth/users/", json=person).raise_for_status().json()
        pair, other = (client.post("/auth/jwt/create/", json=person).raise_for_status().json() for _login in range(2))
        signed_in = {"Authorization": f"Bearer {pair['access']}"}
        until = (datetime.now(UTC) + timedelta(days=30)).isoformat()
        issued = client.post("/api/referral-code/", json={"expiration_date": until}, headers=signed_in).json()
        for email in ("fuzz.2@example.com", "fuzz.4@example.com"):
            referred = {"email": email, "password": PASSWORD, "referral_code": issued["code"]}
            client.post("/api/register-with-referral/", json=referred).raise_for_status()
        page = client.get(f"/api/referrals/{me['id']}/?limit=1", headers=signed_in).json()
    [cursor] = parse_qs(urlsplit(page["next"]).query)["cursor"]
    return {
        "id": me["id"],
        "access": pair["access"],
        "other": other,
        "code": issued["code"],
        "until": until,
        "cursor": cursor,
    }


def settings_of_the_run(ada):
    """What schemathesis.toml holds: values that get a request past the first check, so that the next is reached too."""
    known = {
        "path.code": [ada["code"], ada["code"].lower().replace("-", "")],
        "query.email": ["fuzz@example.com", "FUZZ.2@example.com", "nobody@example.com"],
        "query.limit": [1, 100],
        "query.cursor": [ada["cursor"], ada["cursor"][:-1]],
        "body.email": ["fuzz@example.com", "fuzz.2@example.com", "nobody@example.com"],
        "body.new_email": ["fuzz.3@example.com", "fuzz.2@example.com"],
        "body.username": ["fuzz", "FUZZ", "lovelace"],
        "body.password": [PASSWORD, "password", "fuzz"],
        "body.new_password": [PASSWORD],
        "body.referral_code": [ada["code"], "UNKNOWN-1"],
        "body.code": [ada["code"], "EMAIL", "MINE-2"],
        "body.expiration_date": [ada["until"], ada["until"][:10]],
        "body.refresh": [ada["other"]["refresh"], ada["other"]["access"]],
        "body.token": [ada["other"]["access"], ada["other"]["refresh"]],
        "body.uid": ["MQ", "Mg"],
    }
    lines = []
    for name, values in known.items():
        lines += [f"[dictionaries.{json.dumps(name)}]", f"values = {json.dumps(values)}"]
    lines += ["[parameters]", f'"path.id" = {ada["id"]}']  # of any other, the rest is not looked at
    lines += [f'"{name}" = {{ dictionary = "{name}", probability = 0.7 }}' for name in known]
    return "\n".join(lines)


@pytest.mark.slow
def test_no_made_up_request_gets_an_answer_that_the_schema_does_not_know(service, ada, tmp_path):
    """G1, G2, G4, G6"""
    log = Path(service.folder, "log")
    logged = len(log.read_text())
    (tmp_path / "schemathesis.toml").write_text(settings_of_the_run(ada))
    signed_in = {"Authorization": f"Bearer {ada['access']}"}
    most = fuzz(service, signed_in, tmp_path, "--exclude-path", ENDS_THE_TOKEN)
    assert most["operations"]["tested"] >= 24
    assert most["test_cases"]["generated"] >= 21 * EXAMPLES

    # The token was good from the first request to the last, so that what was sent with it was not just turned away.
    me = httpx.get(f"{service.url}/auth/users/me/", headers=signed_in)
    assert (me.status_code, me.json()["email"]) == (200, "fuzz@example.com")
    rest = fuzz(service, signed_in, tmp_path, "--include-path", ENDS_THE_TOKEN)
    assert rest["operations"]["tested"] == 1
    for trace in ("Traceback", "Internal Server Error", ada["access"], PASSWORD, "fuzz@example.com"):
        assert trace not in log.read_text()[logged:]


def fuzz(service, signed_in, folder, *choice):
    """What the report says of a run over the operations of a choice, in which nothing was found."""
    report = folder / "report.json"
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml", "run"]
    command += [f"{service.url}/api/schema/?format=json", "--header", f"Authorization: {signed_in['Authorization']}"]
    command += ["--phases", "examples,coverage,fuzzing", "--continue-on-failure", *choice]
    command += ["--checks", "all", "--exclude-checks", ",".join(LEFT_OUT)]
    command += ["--seed", SEED, "--max-examples", str(EXAMPLES), "--generation-database", "none"]
    command += ["--warnings", "off", "--no-color", "--report", "json", "--report-json-path", str(report)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    told = json.loads(report.read_text())
    assert (told["test_cases"]["with_failures"], told["test_cases"]["errored"], told["errors"]) == (0, 0, [])
    return told
