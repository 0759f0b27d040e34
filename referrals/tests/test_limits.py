"""Limits on codes and on people: guesses, and look-ups."""

import pytest

from referrals.tests.factories import make_code
from users import limits
from users.models import AuditEvent
from users.tests.factories import PASSWORD, make_user
from users.tests.providers import BACK

pytestmark = pytest.mark.django_db

HOUR, DAY = 3600, 86400


@pytest.fixture
def code_limit(settings, store, clock):
    settings.THROTTLE_CODE_CHECK = [(3, HOUR)]


def check(api, how: str, code: str, **at: str) -> int:
    calls = {
        "check": lambda: api.get(f"/api/referral-code/{code}/", **at),
        "page": lambda: api.get(f"/r/{code}", **at),
        "register": lambda: api.post("/api/register-with-referral/", person() | {"referral_code": code}, **at),
        "sign up": lambda: api.post("/auth/users/", person() | {"referral_code": code}, **at),
    }
    return calls[how]().status_code


def person() -> dict[str, str]:
    person.count = getattr(person, "count", 0) + 1
    return {"email": f"person{person.count}@example.com", "password": PASSWORD}


def test_guesses_at_codes_count_together_however_they_are_made(api, code_limit):
    """T9, T10"""
    answers = [check(api, how, "GUESSED-1") for how in ("check", "register", "sign up")]
    assert answers == [404, 400, 400]
    assert {check(api, how, "GUESSED-1") for how in ("check", "page", "register", "sign up")} == {429}
    assert api.get("/api/referral-code/GUESSED-1/", REMOTE_ADDR="203.0.113.1").status_code == 404


def test_sign_ups_with_good_codes_are_no_guesses(api, code_limit):
    """T0, T9"""
    code = make_code().code
    assert [check(api, how, code) for how in ("register", "sign up", "page") * 4] == [201, 201, 200] * 4
    assert [check(api, "check", code) for _time in range(4)] == [200] * 3 + [429]


def test_far_more_misses_than_on_other_days_raise_an_alarm_once_an_hour(api, store, clock, caplog, monkeypatch):
    """T9"""
    monkeypatch.setattr(limits, "FEWEST_ALARMING_MISSES", 5)
    code = make_code().code
    for _day in range(7):
        assert check(api, "check", "GUESSED-1") == 404
        clock.now += DAY
    for how in ("check", "page", "register", "sign up", "check"):
        check(api, how, code)  # a good one is no miss
    for _time in range(2):
        for how in ("check", "page", "register", "sign up", "check"):
            check(api, how, "GUESSED-1")
    assert not [record for record in caplog.records if record.name == "users.limits"]
    for _time in range(5):
        check(api, "check", "GUESSED-1")
    assert [record.levelname for record in caplog.records if record.name == "users.limits"] == ["ERROR"]
    assert AuditEvent.objects.get().kind == "code_guessing"


def test_people_are_looked_up_so_often_by_one_account_and_can_see_how_often_they_were(as_user, settings, clock):
    """N9"""
    settings.THROTTLE_LOOKUP = [(3, HOUR)]
    grace = make_user(email="grace@example.com")
    make_code(grace)
    curious = as_user(make_user())
    asked = ["grace@example.com", "nobody@example.com", "grace@example.com", "grace@example.com"]
    answers = [curious.get("/api/referral-code/", {"email": email}).status_code for email in asked]
    assert answers == [200, 404, 200, 429]
    me = as_user(grace)
    assert me.get("/api/referral-code/").status_code == 200
    assert me.get(f"/api/referrals/{grace.pk}/summary/").json()["lookups"] == 2


@pytest.mark.parametrize("first", ["sign up", "register", "leave"])
def test_sign_ups_count_together_however_they_are_begun(api, settings, store, clock, first, code_ready):
    """T7, T10"""
    settings.THROTTLE_SIGN_UP = [(3, HOUR)]
    begin = {
        "sign up": lambda **at: check(api, "sign up", code_ready, **at),
        "register": lambda **at: check(api, "register", code_ready, **at),
        "leave": lambda **at: api.get("/auth/o/github/", {"redirect_uri": BACK}, **at).status_code,
    }
    assert [begin[how]() for how in ("sign up", "register", "leave")] == [201, 201, 200]
    assert begin[first]() == 429
    assert begin[first](REMOTE_ADDR="203.0.113.7") < 300


@pytest.fixture
def code_ready() -> str:
    return make_code().code
