"""F12: the clock of a web process jumps, that of the database does not."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from config.tests.live import SERVER, free_port
from conftest import check_invariants
from faults.load import Answer, call
from faults.processes import supervised, until
from faults.shapes import Production, with_port
from referrals.tests.factories import make_code, make_expired_code
from users.models import User
from users.tests.factories import PASSWORD, make_user

JUMPS = {"an hour back": -3600, "an hour ahead": 3600, "a day back": -86400, "a day ahead": 86400}


class Clocked:
    """A web process whose clock we set."""

    def __init__(self, port: int, file: Path) -> None:
        self.port, self._file = port, file

    def set(self, seconds: int) -> None:
        self._file.write_text(f"{seconds:+d}")

    def call(self, method: str, path: str, body: object = None, token: str = "") -> Answer:
        answer = call(self.port, method, path, body, token)
        assert not answer.problem, answer.problem
        return answer


@pytest.fixture(scope="module")
def clocked(running_production: Production, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clocked]:
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None or not shutil.which("faketime"):
        pytest.skip("needs faketime, which moves the clock of one process")
    port, file = free_port(), tmp_path_factory.mktemp("clock") / "offset"
    clocked = Clocked(port, file)
    clocked.set(0)
    moved = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    environment = with_port(running_production.service, port) | moved
    with supervised(SERVER, environment, running_production.service.folder / "clocked.log"):
        until(lambda: call(port, "GET", "/readyz").status == 200)
        yield clocked


@contextmanager
def jumped(clocked: Clocked, seconds: int) -> Iterator[None]:
    clocked.set(seconds)
    try:
        yield
    finally:
        clocked.set(0)


def log_in(clocked: Clocked, user: User) -> dict[str, str]:
    pair: dict[str, str] = clocked.call("POST", "/auth/jwt/create/", {"email": user.email, "password": PASSWORD}).body
    return pair


@pytest.mark.usefixtures("production")
@pytest.mark.parametrize("jump", JUMPS)
def test_no_token_that_was_ended_lives_again_after_a_jump(clocked, jump):
    """F12"""
    user = make_user()
    used, ended = log_in(clocked, user), log_in(clocked, user)
    fresh = clocked.call("POST", "/auth/jwt/refresh/", {"refresh": used["refresh"]}).body
    assert clocked.call("POST", "/auth/jwt/logout/", {"refresh": ended["refresh"]}).status == 204
    with jumped(clocked, JUMPS[jump]):
        assert clocked.call("POST", "/auth/jwt/refresh/", {"refresh": used["refresh"]}).status == 401
        assert clocked.call("POST", "/auth/jwt/refresh/", {"refresh": ended["refresh"]}).status == 401
        good = clocked.call("GET", "/auth/users/me/", token=fresh["access"]).status
        assert good == 401  # run out, or not yet begun
        there = log_in(clocked, user)
        assert clocked.call("GET", "/auth/users/me/", token=there["access"]).status == 200
        assert clocked.call("POST", "/auth/users/set_password/", change_of_password(), there["access"]).status == 204
        assert clocked.call("GET", "/auth/users/me/", token=there["access"]).status == 401
    for pair in (used, ended, fresh, there):
        assert clocked.call("GET", "/auth/users/me/", token=pair["access"]).status == 401
        assert clocked.call("POST", "/auth/jwt/refresh/", {"refresh": pair["refresh"]}).status == 401


def change_of_password() -> dict[str, str]:
    return {"current_password": PASSWORD, "new_password": "staple under the moon"}


@pytest.mark.usefixtures("production")
@pytest.mark.parametrize("jump", JUMPS)
def test_a_code_ends_by_the_clock_of_the_database(clocked, jump):
    """F12"""
    running = make_code(expires_at=datetime.now(UTC) + timedelta(minutes=10))
    over = make_expired_code(ended=timedelta(minutes=10))
    with jumped(clocked, JUMPS[jump]):
        name = jump.replace(" ", "")
        body = {"password": PASSWORD, "referral_code": running.code}
        came = clocked.call("POST", "/api/register-with-referral/", body | {"email": f"{name}@example.com"})
        assert came.status == 201
        body |= {"referral_code": over.code, "email": f"late{name}@example.com"}
        refused = clocked.call("POST", "/api/register-with-referral/", body)
        assert (refused.status, refused.body["errors"][0]["code"]) == (400, "invalid_code")
        assert clocked.call("GET", f"/api/referral-code/{running.code}/").status == 200
        assert clocked.call("GET", f"/api/referral-code/{over.code}/").status == 404
    assert running.referrals.count() == 1
    check_invariants()


@pytest.mark.usefixtures("production")
@pytest.mark.parametrize("jump", JUMPS)
def test_a_new_code_is_one_that_has_not_run_out_or_is_refused(clocked, jump):
    """F12: what the end of a code has to be ahead of is the clock of the database."""
    user = make_user()
    with jumped(clocked, JUMPS[jump]):
        pair = log_in(clocked, user)
        for minutes in (-90, -30, 0, 30, 90):
            at = datetime.now(UTC) + timedelta(minutes=minutes)
            body = {"expiration_date": at.isoformat()}
            answer = clocked.call("POST", "/api/referral-code/", body, pair["access"])
            assert answer.status in (201, 400), answer
            if answer.status == 201:
                assert minutes > 0
                assert clocked.call("DELETE", "/api/referral-code/", token=pair["access"]).status == 204
    codes = user.referral_codes.all()
    assert all(code.created_at < code.expires_at and code.retired_at >= code.created_at for code in codes)


@pytest.mark.usefixtures("production")
@pytest.mark.parametrize("jump", JUMPS)
def test_the_load_goes_on_at_another_time(production, clocked, jump):
    """F12"""
    load = production.load(jump.replace(" ", ""))
    load.port = clocked.port
    with jumped(clocked, JUMPS[jump]), load.running(2):
        until(lambda: load.answers()[201] > 3)
    production.check(load)
