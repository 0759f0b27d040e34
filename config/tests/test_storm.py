"""Fifty requests at once against the real server in four processes: one right outcome, and nothing half done.

`STORM_ROUNDS` says how often each storm blows, twice if it is not set. What makes the outcome right is shown lock by
lock in the `test_races.py` of each app; here is whether all of it together holds.
"""

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.client import HTTPConnection
from itertools import count, pairwise
from threading import Barrier, Event
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.hashers import make_password
from django.db.models import F
from django.utils import timezone

from config.tests.at_once import models_at
from config.tests.live import Service, running_service
from conftest import check_invariants
from referrals.models import Referral, ReferralCode
from referrals.tests.factories import make_code, tomorrow
from users.models import User
from users.tests.factories import PASSWORD, make_user

N = 50
ROUNDS = int(os.environ.get("STORM_ROUNDS", "2"))

pytestmark = pytest.mark.slow


class Call(NamedTuple):
    method: str
    path: str
    body: Any = None
    token: str = ""


class Answer(NamedTuple):
    status: int
    body: Any

    @property
    def outcome(self) -> tuple[int, str]:
        """The status and, of a refusal, the code."""
        problem = self.body if self.status >= 400 else {"code": ""}
        return self.status, problem.get("errors", [problem])[0]["code"]


def ask(service: Service, call: Call, start: Barrier | Event | None = None) -> Answer:
    """Call the service, at `start` if there is one; the connection is made before. No 5xx, and errors as problems."""
    connection = HTTPConnection(urlsplit(service.url).netloc, timeout=120)
    connection.connect()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {call.token}"} if call.token else {})
    if start:
        start.wait(timeout=60)
    connection.request(call.method, call.path, json.dumps(call.body) if call.body is not None else None, headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    body = json.loads(content) if content else None
    if not 200 <= response.status < 300:
        assert 400 <= response.status < 500, content
        assert response.headers["Content-Type"] == "application/problem+json"
        assert body["status"] == response.status
    return Answer(response.status, body)


def storm(service: Service, calls: Iterable[Call], then: Iterable[Call] = ()) -> list[Answer]:
    """The answers to `calls`, which come all at once, and to `then`, which come with the first answer to them."""
    calls, then = list(calls), list(then)
    start, answered = Barrier(len(calls)), Event()

    def call_at_once(call: Call) -> Answer:
        try:
            return ask(service, call, start)
        finally:
            answered.set()

    with ThreadPoolExecutor(len(calls) + len(then)) as pool:
        first = [pool.submit(call_at_once, call) for call in calls]
        later = [pool.submit(ask, service, call, answered) for call in then]
        return [answer.result() for answer in first + later]


def outcomes(answers: list[Answer]) -> Counter[tuple[int, str]]:
    return Counter(answer.outcome for answer in answers)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running_service(workers=4, THROTTLE_SIGN_IN="5/day") as service:
        yield service


@pytest.fixture(autouse=True, params=range(ROUNDS))
def database(service: Service, django_db_blocker: Any, settings: Any) -> Iterator[None]:
    """The models, and so the factories, work on the service's database; after a storm it holds what it must."""
    settings.PASSWORD_HASHERS = ["users.hashers.Argon2idHasher"]
    with django_db_blocker.unblock(), models_at(service.database_url):
        yield
        check_invariants()
        assert not Referral.objects.filter(referrer__gte=F("referred")).exists()  # C11: who refers was there first
        assert not Referral.objects.filter(created_at__gt=F("code__retired_at")).exists()
        assert not ReferralCode.objects.filter(retired_at=None, owner__closed_at__isnull=False).exists()


_numbers = count(1)


def sign_up(code: ReferralCode | None = None, email: str = "") -> Call:
    body = {"email": email or f"storm{next(_numbers)}@example.com", "password": PASSWORD}
    if code is None:
        return Call("POST", "/auth/users/", body)
    return Call("POST", "/api/register-with-referral/", body | {"referral_code": code.code})


def log_in(user: User) -> Call:
    return Call("POST", "/auth/jwt/create/", {"email": user.email, "password": PASSWORD})


def token_of(service: Service, user: User) -> str:
    return ask(service, log_in(user)).body["access"]


def new_code(token: str) -> Call:
    return Call("POST", "/api/referral-code/", {"expiration_date": tomorrow().isoformat()}, token)


def of_sign_ups(calls: list[Call]) -> Any:
    return User.objects.filter(email__in=[call.body["email"] for call in calls])


def test_fifty_sign_ups_with_one_address_make_one_account(service):
    """C1"""
    calls = [sign_up(email=f"one{next(_numbers)}@example.com")] * N
    answers = storm(service, calls)
    assert outcomes(answers) == {(201, ""): 1, (400, "email_taken"): N - 1}
    assert of_sign_ups(calls).count() == 1


def test_fifty_people_who_write_at_once_are_all_served(service):
    """C16"""
    code = make_code()
    calls = [sign_up(code) for _person in range(N)]
    answers = storm(service, calls)
    assert outcomes(answers) == {(201, ""): N}
    assert code.referrals.count() == N
    text = "".join(service.mails())
    assert [text.count(f"To: {call.body['email']}\n") for call in calls] == [1] * N
    people = of_sign_ups(calls)
    answers = storm(service, map(log_in, people))
    assert outcomes(answers) == {(200, ""): N}
    answers = storm(service, [new_code(answer.body["access"]) for answer in answers])
    assert outcomes(answers) == {(201, ""): N}
    assert ReferralCode.objects.filter(owner__in=people).count() == N


def test_one_person_who_creates_fifty_codes_has_one(service):
    """C2"""
    owner = make_user()
    answers = storm(service, [new_code(token_of(service, owner))] * N)
    assert outcomes(answers) == {(201, ""): 1, (409, "active_code_exists"): N - 1}
    assert owner.referral_codes.get().retired_at is None


def test_codes_created_and_deleted_at_once_follow_one_another(service):
    """C3"""
    owner = make_user()
    token = token_of(service, owner)
    answers = storm(service, [new_code(token), Call("DELETE", "/api/referral-code/", token=token)] * (N // 2))
    came = outcomes(answers)
    assert came.keys() <= {(201, ""), (409, "active_code_exists"), (204, ""), (404, "no_active_code")}
    codes = list(owner.referral_codes.order_by("id"))
    assert len(codes) == came[201, ""]
    assert len([code for code in codes if code.retired_at]) == came[204, ""]
    assert all(before.retired_at <= after.created_at for before, after in pairwise(codes))


def test_one_person_who_registers_with_fifty_codes_is_referred_once(service):
    """C4"""
    email = f"one{next(_numbers)}@example.com"
    answers = storm(service, [sign_up(make_code(make_user(password=None)), email) for _code in range(N)])
    assert outcomes(answers) == {(201, ""): 1, (400, "email_taken"): N - 1}
    assert Referral.objects.filter(referred__email=email).count() == 1


def test_one_refresh_token_used_fifty_times_buys_one_pair(service):
    """C6"""
    pair = ask(service, log_in(make_user())).body
    answers = storm(service, [Call("POST", "/auth/jwt/refresh/", {"refresh": pair["refresh"]})] * N)
    assert outcomes(answers) == {(200, ""): 1, (401, "token_not_valid"): N - 1}
    (successor,) = (answer.body["refresh"] for answer in answers if answer.status == 200)
    assert ask(service, Call("POST", "/auth/jwt/refresh/", {"refresh": successor})).status == 200


def test_one_link_used_fifty_times_works_once(service):
    """C7"""
    user = make_user()
    assert ask(service, Call("POST", "/auth/users/reset_password/", {"email": user.email})).status == 204
    mails = service.newest_mail(user.email)
    links = re.findall(r"/account/reset-password/([^/\s]+)/([^/\s]+)/", mails)
    link = dict(zip(("uid", "token"), links[0], strict=True))
    calls = [
        Call("POST", "/auth/users/reset_password_confirm/", link | {"new_password": f"staple under the moon {number}"})
        for number in range(N)
    ]
    answers = storm(service, calls)
    assert outcomes(answers) == {(204, ""): 1, (400, "invalid_token"): N - 1}
    (winner,) = (call for call, answer in zip(calls, answers, strict=True) if answer.status == 204)
    user.refresh_from_db()
    assert user.check_password(winner.body["new_password"])


def test_a_code_that_runs_out_in_the_storm_lets_in_who_came_before(service):
    """C8: the database's own time of every referral is before the end of its code."""
    code = make_code(expires_at=timezone.now() + timedelta(seconds=1))
    calls = [sign_up(code) for _person in range(N)]
    came = outcomes(storm(service, calls))
    assert came.keys() <= {(201, ""), (400, "invalid_code")}
    while ReferralCode.objects.active().filter(pk=code.pk).exists():
        time.sleep(0.05)
    assert ask(service, sign_up(code)).outcome == (400, "invalid_code")
    assert code.referrals.filter(created_at__lt=code.expires_at).count() == came[201, ""]
    assert of_sign_ups(calls).count() == came[201, ""]


def test_a_code_that_is_deleted_in_the_storm_lets_in_who_came_before(service):
    """C9"""
    code = make_code()
    delete = Call("DELETE", "/api/referral-code/", token=token_of(service, code.owner))
    calls = [sign_up(code) for _person in range(N)]
    came = outcomes(storm(service, calls[: N // 2], then=[delete, *calls[N // 2 :]]))
    assert came.pop((204, "")) == 1
    assert came.keys() <= {(201, ""), (400, "invalid_code")}
    assert code.referrals.count() == of_sign_ups(calls).count() == came[201, ""]


def test_a_referrer_who_closes_the_account_in_the_storm_keeps_who_came_before(service):
    """C10"""
    code = make_code()
    token = token_of(service, code.owner)
    close = Call("DELETE", "/auth/users/me/", {"current_password": PASSWORD}, token)
    calls = [sign_up(code) for _person in range(N)]
    came = outcomes(storm(service, calls[: N // 2], then=[close, *calls[N // 2 :]]))
    assert came.pop((204, "")) == 1
    assert came.keys() <= {(201, ""), (400, "invalid_code")}
    assert Referral.objects.filter(referrer=code.owner).count() == of_sign_ups(calls).count() == came[201, ""]
    assert ask(service, Call("GET", f"/api/referrals/{code.owner_id}/", token=token)).status == 401


def test_two_people_who_register_with_each_others_code_stay_as_they_are(service):
    """C11: who has a code has an account, so that no sign-up can refer them any more. The one way round is closed too:
    every referrer's id is lower than that of whom they referred, which is checked after each storm."""
    ada, grace = make_code(), make_code()
    answers = storm(service, [sign_up(ada, grace.owner.email), sign_up(grace, ada.owner.email)] * (N // 2))
    assert outcomes(answers) == {(400, "email_taken"): N}
    assert not Referral.objects.filter(code__in=[ada, grace]).exists()


def test_changes_of_different_fields_at_once_are_all_kept(service):
    """C12"""
    people = [make_user(password=None) for _person in range(N // 2)]
    User.objects.filter(id__in=[user.id for user in people]).update(password=make_password(PASSWORD))
    logins = storm(service, map(log_in, people))
    calls = [
        Call("PATCH", "/auth/users/me/", change, login.body["access"])
        for user, login in zip(people, logins, strict=True)
        for change in ({"username": f"renamed-{user.username}"}, {"discoverable_by_email": False})
    ]
    answers = storm(service, calls)
    assert outcomes(answers) == {(200, ""): N}
    for user in people:
        changed = User.objects.get(pk=user.pk)
        assert (changed.username, changed.discoverable_by_email) == (f"renamed-{user.username}", False)


def test_ten_times_the_limit_at_once_lets_just_the_limit_through(service):
    """T1: four processes count as one."""
    wrong = Call("POST", "/auth/jwt/create/", {"email": make_user().email, "password": "wrong"})
    answers = storm(service, [wrong] * N)
    assert outcomes(answers) == {(401, "no_active_account"): 5, (429, "throttled"): N - 5}
