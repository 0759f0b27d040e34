"""deploy/roles.sql: in production the service works with rows, and with nothing else."""

import json
import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import Request, urlopen

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from config.tests.live import ROOT, Service, running_service
from config.tests.test_readme import blocks_of

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

PASSWORD = "correct horse battery"


def as_role(url: str, name: str, database: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(
        parts._replace(netloc=f"{name}:{PASSWORD.replace(' ', '')}@{parts.netloc.split('@')[1]}", path=database)
    )


def connect(url: str) -> psycopg.Connection:
    return psycopg.connect(url.replace("postgres://", "postgresql://", 1), autocommit=True)


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, str]]:
    """A database that its owner has migrated, with the role of the service beside the owner's."""
    given, database, owner = (
        os.environ["DATABASE_URL"],
        f"roles_{secrets.token_hex(4)}",
        f"owner_{secrets.token_hex(4)}",
    )
    with connect(given) as admin:
        admin.execute(f"CREATE ROLE {owner} LOGIN CREATEROLE PASSWORD '{PASSWORD.replace(' ', '')}'")
        admin.execute(f"CREATE DATABASE {database} OWNER {owner}")
        try:
            urls = {"owner": as_role(given, owner, database), "app": as_role(given, "app", database)}
            with running_service(DATABASE_URL=urls["owner"]):
                pass  # which migrates
            for _time in range(2):
                grant(urls["owner"])
            yield urls
        finally:
            admin.execute(f"DROP DATABASE {database} WITH (FORCE)")
            admin.execute("DROP ROLE IF EXISTS app")
            admin.execute(f"DROP ROLE {owner}")


def grant(owner_url: str) -> None:
    environment = os.environ | {"APP_PASSWORD": PASSWORD.replace(" ", "")}
    command = ["psql", "--no-psqlrc", "--quiet", "-f", "deploy/roles.sql", owner_url]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def service(urls) -> Iterator[Service]:
    with running_service(DATABASE_URL=urls["app"]) as service:
        yield service


def call(service: Service, method: str, path: str, access: str = "", **body: object) -> tuple[int, dict]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {access}"} if access else {})
    request = Request(service.url + path, json.dumps(body).encode() if body else None, headers, method=method)
    try:
        with urlopen(request, timeout=30) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else {}
    except HTTPError as error:
        return error.code, json.load(error)


def sign_in(service: Service, name: str, password: str = PASSWORD) -> dict:
    status, pair = call(service, "POST", "/auth/jwt/create/", email=f"{name}@example.com", password=password)
    assert status == 200
    return pair


def test_all_that_people_do_is_done_by_a_role_that_works_with_rows_only(service, urls):
    """S6"""
    [commands] = blocks_of("README.md", "Quick start")
    environment = {"PATH": os.environ["PATH"], "URL": service.url}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=service.folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "problem" not in done.stdout
    assert "Subject: Your referral code" in done.stdout
    pair = sign_in(service, "ada")
    assert call(service, "POST", "/auth/jwt/refresh/", refresh=pair["refresh"])[0] == 200
    linus = sign_in(service, "linus", "staple under the moon")["access"]
    assert call(service, "GET", "/api/referral-code/?email=ada@example.com", linus)[0] == 200
    assert call(service, "PATCH", "/auth/users/me/", linus, discoverable_by_email=False)[0] == 200
    assert call(service, "GET", "/auth/users/me/export/", linus)[0] == 200
    changed = {"current_password": PASSWORD, "new_password": "another horse battery"}
    assert call(service, "POST", "/auth/users/set_password/", pair["access"], **changed)[0] == 204
    ada = sign_in(service, "ada", "another horse battery")["access"]
    asked = {"new_email": "countess@example.com", "current_password": "another horse battery"}
    assert call(service, "POST", "/auth/users/set_email/", ada, **asked)[0] == 204
    link = re.search(r"/account/(\S+/)", service.newest_mail("countess@example.com"))
    assert link
    assert call(service, "POST", "/auth/users/reset_password/", email="ada@example.com")[0] == 204
    assert call(service, "DELETE", "/api/referral-code/", ada)[0] == 204
    assert call(service, "POST", "/api/referral-code/", ada, expiration_date="2030-12-31")[0] == 201
    assert call(service, "DELETE", "/auth/users/me/", ada, current_password="another horse battery")[0] == 204
    assert "Delivered" in service.manage("housekeeping")
    with connect(urls["app"]) as app:
        assert app.execute("SELECT count(*) FROM users_auditevent WHERE client <> ''").fetchone() != (0,)
        assert app.execute("SELECT count(*) FROM referrals_referral").fetchone() == (1,)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE another (id int)",
        "CREATE TEMPORARY TABLE another (id int)",
        "CREATE SCHEMA another",
        "CREATE ROLE another",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DROP TABLE referrals_referral",
        "TRUNCATE referrals_referral",
        "ALTER TABLE users_user ADD COLUMN more int",
        "ALTER TABLE users_auditevent DISABLE ROW LEVEL SECURITY",
        "CREATE INDEX ON users_user (email)",
        "UPDATE referrals_referral SET referrer_id = 1",
        "DELETE FROM referrals_referral",
        "DELETE FROM referrals_referralcode",
        "DELETE FROM users_user",
        "UPDATE users_auditevent SET kind = 'signed_out'",
        "UPDATE users_auditevent SET client = 'somebody else'",
        "DELETE FROM django_migrations",
    ],
)
def test_the_role_of_the_service_may_not(service, urls, statement):
    """S6"""
    with connect(urls["owner"]) as owner:
        owner.execute(
            "INSERT INTO users_auditevent (kind, client, request_id, detail) VALUES ('signed_in', 'x', '', '{}')"
        )
    with connect(urls["app"]) as app, pytest.raises(InsufficientPrivilege):
        app.execute(statement)


def test_audit_rows_go_by_age_alone(service, urls):
    """S6"""
    columns = "kind, client, request_id, detail, created_at"
    row = f"INSERT INTO users_auditevent ({columns}) VALUES ('signed_in', '', %s, '{{}}', now() - %s::interval)"
    with connect(urls["owner"]) as owner:
        owner.execute(row, ["young", "88 days"])
        owner.execute(row, ["old", "90 days"])
    with connect(urls["app"]) as app:
        app.execute("DELETE FROM users_auditevent WHERE request_id IN ('young', 'old')")
        left = app.execute("SELECT request_id FROM users_auditevent WHERE request_id IN ('young', 'old')").fetchall()
    assert left == [("young",)]
