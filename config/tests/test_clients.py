"""Clients that generators make of the schema, used as somebody who integrates the service uses them."""

import importlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from config.tests.live import ROOT, Service

pytestmark = [pytest.mark.slow, pytest.mark.interface]

MADE = ROOT / "build" / "clients"
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def clients() -> Path:
    """The folder in which `.ci/clients` has put what it made."""
    done = subprocess.run(
        [ROOT / ".ci" / "clients"], env=os.environ | {"PYTHON": sys.executable}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return MADE


@pytest.fixture
def python_client(clients: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The generated Python package: its modules of operations by name, its models, its two kinds of client."""
    monkeypatch.syspath_prepend(clients / "python")
    package = importlib.import_module("referral_service_client")
    operations = {
        file.stem: importlib.import_module(f"referral_service_client.api.{file.parent.name}.{file.stem}")
        for file in clients.glob("python/referral_service_client/api/*/[!_]*.py")
    }
    return SimpleNamespace(
        **operations, models=package.models, Client=package.Client, AuthenticatedClient=package.AuthenticatedClient
    )


def test_each_operation_is_generated_and_takes_a_json_body(clients, python_client):
    """Of several formats a generated client would send all at once, and one that is skipped is only warned about."""
    schema = json.loads((clients / "schema.json").read_text())
    operations = [operation["operationId"] for path in schema["paths"].values() for operation in path.values()]
    assert operations
    assert [name for name in operations if not hasattr(python_client, name)] == []
    sign_in = python_client.sign_in
    request = sign_in._get_kwargs(body=python_client.models.LogInRequest(password=PASSWORD, username="ada"))
    assert request["json"] == {"password": PASSWORD, "username": "ada"}
    assert request.keys() == {"method", "url", "json", "headers"}


def test_the_generated_python_client_does_the_quick_start(python_client, service: Service):
    models, anyone = python_client.models, python_client.Client(base_url=service.url)

    account = python_client.sign_up.sync(
        client=anyone, body=models.SignUpRequest(email="clara@example.com", password=PASSWORD, username="clara")
    )
    assert (account.username, account.referrer, account.email_verified) == ("clara", None, False)

    refused = python_client.sign_in.sync(client=anyone, body=models.LogInRequest(password="wrong", username="clara"))
    assert (refused.status, refused.code) == (401, "no_active_account")
    pair = python_client.sign_in.sync(
        client=anyone, body=models.LogInRequest(password=PASSWORD, email="clara@example.com")
    )
    clara = python_client.AuthenticatedClient(base_url=service.url, token=pair.access)

    in_a_month = datetime.now(UTC).date() + timedelta(days=30)
    code = python_client.create_my_code.sync(client=clara, body=models.NewCodeRequest(expiration_date=in_a_month))
    assert code.expiration_date.date() == in_a_month
    assert code.share_url == f"{service.url}/r/{code.code}"

    friend = python_client.register_with_a_code.sync(
        client=anyone,
        body=models.RegisterRequest(email="fred@example.com", password=PASSWORD, referral_code=code.code.lower()),
    )
    assert friend.referrer.username == "clara"

    page = python_client.list_referrals.sync(account.id, client=clara)
    assert [(row.id, row.email, row.code) for row in page.results] == [(friend.id, "f***@example.com", code.code)]
    assert page.next_ is None
    summary = python_client.sum_referrals_up.sync(account.id, client=clara)
    assert (summary.total, summary.codes[0].total) == (1, 1)

    assert not [mail for mail in service.mails() if code.code in mail]
    python_client.mail_a_code.sync(client=clara, body=models.MailCodeRequest())
    [mail] = [mail for mail in service.mails() if code.code in mail]
    assert "To: clara@example.com" in mail

    signed_out = python_client.sign_out.sync_detailed(client=anyone, body=models.LogOutRequest(refresh=pair.refresh))
    assert signed_out.status_code == 204
