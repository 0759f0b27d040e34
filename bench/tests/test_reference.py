"""Whether the reference does what the service does: else a race between them would say nothing."""

import json
import re
import shutil
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import jwt
import pytest

from bench.calls import CALLS, Call, token_of
from bench.driving import measure
from bench.filling import FEW, MANY, PASSWORD, code_of, email_of
from bench.stand import HEADERS, Server, Stand, postgres, stand
from bench.waterfall import answer_of, stages_of

pytestmark = [pytest.mark.slow, pytest.mark.interface]
ACCOUNT_COLUMNS = "email_verified_at, discoverable_by_email, language, closed_at, is_active, is_staff, is_superuser"


@pytest.fixture(scope="module")
def both() -> Iterator[Stand]:
    with postgres(), stand(500, 2000) as both:
        yield both


def ask(server: Server, method: str, path: str, token: str = "", body: Any = None) -> tuple[int, bytes]:
    headers = HEADERS | ({"Authorization": f"Bearer {token}"} if token else {})
    content = None if body is None else json.dumps(body).encode()
    request = Request(
        server.url + path, content, headers | ({"Content-Type": "application/json"} if content else {}), method=method
    )
    try:
        with urlopen(request) as answer:
            return answer.status, answer.read()
    except HTTPError as refusal:
        return refusal.code, refusal.read()


def answers(both: Stand, method: str, path: str, token: str = "", body: Any = None) -> list[tuple[int, Any]]:
    told = [ask(server, method, path, token, body) for server in both.servers]
    return [(status, json.loads(content) if content else None) for status, content in told]


def same_answer(both: Stand, path: str, token: str = "") -> Any:
    service, reference = (ask(server, "GET", path, token) for server in both.servers)
    assert service == reference
    assert service[0] == 200
    return json.loads(service[1])


def same_refusal(both: Stand, method: str, path: str, token: str = "", body: Any = None) -> tuple[int, str]:
    service, reference = answers(both, method, path, token, body)
    for _status, problem in (service, reference):
        del problem["request_id"]
    assert service == reference
    status, problem = service
    return status, problem["errors"][0]["code"] if "errors" in problem else problem["code"]


def shape(value: Any) -> Any:
    """What a value is made of, without what differs from one time to the next."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return [shape(inner) for inner in value] if isinstance(value, list) else type(value)


@pytest.mark.parametrize("limit", ["", "limit=100", "limit=1", "limit=7"])
def test_a_list_is_the_same_to_the_byte_from_its_first_page_on_and_back(both, limit):
    token = token_of(both, MANY)
    path = f"/api/referrals/{MANY}/?{limit}"
    for _page in range(4):
        page = same_answer(both, path, token)
        if not page["next"]:
            break
        next_page = urlsplit(page["next"])
        path = f"{next_page.path}?{next_page.query}"
    while page["previous"]:
        previous_page = urlsplit(page["previous"])
        page = same_answer(both, f"{previous_page.path}?{previous_page.query}", token)
    assert page["results"]


def test_the_last_page_and_an_empty_one_are_the_same(both):
    last = f"/api/referrals/{MANY}/?cursor={both.keys.cursor(20)}"
    assert same_answer(both, last, token_of(both, MANY))["next"] is None
    empty = f"/api/referrals/{MANY}/?cursor={both.keys.cursor(1)}"
    assert same_answer(both, empty, token_of(both, MANY))["results"] == []
    nobodys = both.ask("SELECT max(id) FROM users_user")[0][0]
    assert same_answer(both, f"/api/referrals/{nobodys}/", token_of(both, nobodys))["results"] == []


def test_a_look_up_is_the_same_to_the_byte_and_is_counted_by_both(both):
    found = same_answer(both, f"/api/referral-code/?email={email_of(40).upper()}", token_of(both, FEW))
    assert found["code"] == code_of(40)
    assert both.ask("SELECT lookups FROM referrals_lookupcount WHERE owner_id = 40") == [(2,)]
    assert same_answer(both, "/api/referral-code/", token_of(both, FEW))["code"] == code_of(FEW)


def test_a_code_check_is_the_same_to_the_byte_however_it_is_typed(both):
    same_answer(both, f"/api/referral-code/{code_of(41)}/")
    same_answer(both, f"/api/referral-code/{code_of(41).lower().replace('0', 'o')}/")


def test_both_refuse_the_same(both):
    token = token_of(both, FEW)
    assert same_refusal(both, "GET", f"/api/referrals/{FEW}/") == (401, "not_authenticated")
    assert same_refusal(both, "GET", f"/api/referrals/{MANY}/", token) == (403, "permission_denied")
    assert same_refusal(both, "GET", f"/api/referrals/{FEW}/?cursor=made-up", token) == (400, "invalid")
    assert same_refusal(both, "GET", "/api/referral-code/?email=nobody@example.com", token) == (404, "no_active_code")
    assert same_refusal(both, "GET", "/api/referral-code/NOBODYS/") == (404, "no_active_code")
    assert same_refusal(both, "POST", "/api/referral-code/", token, {"expiration_date": "2020-01-01"})[0] == 400
    sign_in = {"email": email_of(42), "password": "not it"}
    assert same_refusal(both, "POST", "/auth/jwt/create/", "", sign_in) == (401, "no_active_account")


@pytest.mark.parametrize("change", ["is_active = false", "token_version = 1"])
def test_no_token_opens_a_blocked_account_or_one_with_a_new_password(both, change):
    both.ask(f"UPDATE users_user SET {change} WHERE id = 43")
    assert same_refusal(both, "GET", "/api/referrals/43/", token_of(both, 43)) == (401, "token_not_valid")
    if "is_active" in change:
        assert same_refusal(both, "GET", f"/api/referral-code/{code_of(43)}/") == (404, "no_active_code")
    both.ask("UPDATE users_user SET is_active = true, token_version = 0 WHERE id = 43")


def test_neither_takes_a_token_of_another_kind_or_key_or_one_that_is_over(both):
    refresh = both.keys.new_claims("refresh", 60, sub="1", ver=0)
    over = both.keys.new_claims("access", -1, sub="1", ver=0)
    foreign = jwt.encode(both.keys.new_claims("access", 60, sub="1", ver=0), "k" * 32, "HS256")
    for token in (both.keys.encode(refresh), both.keys.encode(over), foreign, "junk"):
        assert same_refusal(both, "GET", f"/api/referrals/{FEW}/", token) == (401, "token_not_valid")


def test_signing_in_gives_the_same_claims_and_writes_the_same_rows(both):
    person = {"email": email_of(44), "password": PASSWORD}
    pairs = answers(both, "POST", "/auth/jwt/create/", "", person)
    assert [status for status, _pair in pairs] == [200, 200]
    assert both.ask("SELECT count(DISTINCT password) FROM users_user WHERE id IN (44, 60)") == [
        (1,)
    ]  # none was renewed
    service, reference = (
        {name: jwt.decode(token, options={"verify_signature": False}) for name, token in pair.items()}
        for _status, pair in pairs
    )
    assert {name: shape(claims) for name, claims in service.items()} == {
        name: shape(claims) for name, claims in reference.items()
    }
    lives = [{name: each[name]["exp"] - each[name]["iat"] for name in each} for each in (service, reference)]
    assert lives[0] == lives[1]
    events = "SELECT kind, actor_id, client, length(request_id), detail FROM users_auditevent WHERE user_id = 44"
    first, second = both.ask(events)
    assert first == second
    families = "SELECT length(current), previous, rotated_at, ended_at, date_trunc('minute', expires_at - created_at)"
    first, second = both.ask(f"{families} FROM users_tokenfamily WHERE user_id = 44")
    assert first[:4] == second[:4]


def test_registering_answers_and_writes_the_same(both):
    told = []
    for server in both.servers:
        person = {"email": f"{server.name}@example.com", "password": PASSWORD, "referral_code": code_of(45).lower()}
        status, content = ask(server, "POST", "/api/register-with-referral/", "", person)
        assert status == 201
        told.append(json.loads(content))
    service, reference = told
    assert list(service) == list(reference)
    assert shape(service) == shape(reference)
    assert {**service, **dict.fromkeys(("id", "email", "username", "registered_at"))} == {
        **reference,
        **dict.fromkeys(("id", "email", "username", "registered_at")),
    }
    ids = [account["id"] for account in told]
    first, second = (both.ask(f"SELECT {ACCOUNT_COLUMNS} FROM users_user WHERE id = %s", each) for each in ids)
    assert first == second
    referrals = "SELECT referrer_id, code_id FROM referrals_referral WHERE referred_id = %s"
    assert both.ask(referrals, ids[0]) == both.ask(referrals, ids[1]) == [(45, 45)]
    mails = 'SELECT replace("to", %s, %s), subject, message, tries, last_error FROM users_outgoingemail'
    first, second = (
        both.ask(f"{mails} WHERE reader_id = %s", account["email"], "the address", account["id"]) for account in told
    )
    assert without_links(first, told[0]["email"]) == without_links(second, told[1]["email"])


def without_links(rows: Any, address: str) -> str:
    text = json.dumps(rows, sort_keys=True).replace(address, "the address")
    return re.sub(r"/activate/[^/]+/[^/]+/|<[\d.]+@", "a link", text)


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "password123",
        "weakling@example.com",
        "my-weakling-0",
        "weakling.example",
        "referral program",
        "x" * 129,
    ],
)
def test_both_refuse_the_same_passwords(both, password):
    person = {"email": "weakling@example.com", "password": password, "referral_code": code_of(46)}
    for status, problem in answers(both, "POST", "/api/register-with-referral/", "", person):
        assert (status, {error["field"] for error in problem["errors"]}) == (400, {"password"})


def test_both_refuse_an_address_that_is_taken_and_a_code_that_is_none(both):
    person = {"email": email_of(47), "password": PASSWORD, "referral_code": code_of(46)}
    path = "/api/register-with-referral/"
    assert same_refusal(both, "POST", path, "", person) == (400, "email_taken")
    person |= {"email": "new@example.com", "referral_code": "NOBODYS"}
    assert same_refusal(both, "POST", path, "", person) == (400, "invalid_code")


def test_a_code_is_made_once_and_deleted_once_by_both(both):
    token = token_of(both, 480)  # one of those whose codes come and go
    path, end = "/api/referral-code/", {"expiration_date": "2030-12-31"}
    service, reference = both.servers
    shapes = []
    for one, other in ((service, reference), (reference, service)):
        assert ask(one, "DELETE", path, token) == (204, b"")
        assert same_refusal(both, "DELETE", path, token) == (404, "no_active_code")
        status, content = ask(other, "POST", path, token, end)
        assert status == 201
        shapes.append(shape(json.loads(content)))
        assert same_refusal(both, "POST", path, token, end) == (409, "active_code_exists")
        same_answer(both, path, token)
    assert shapes[0] == shapes[1]


def test_each_takes_a_refresh_token_of_the_other_once(both):
    person = {"email": email_of(49), "password": PASSWORD}
    _status, content = ask(both.server, "POST", "/auth/jwt/create/", "", person)
    for server in [*both.servers, *both.servers]:
        used = {"refresh": json.loads(content)["refresh"]}
        status, content = ask(server, "POST", "/auth/jwt/refresh/", "", used)
        assert status == 200
        assert same_refusal(both, "POST", "/auth/jwt/refresh/", "", used) == (401, "token_not_valid")
    both.ask("UPDATE users_tokenfamily SET rotated_at = now() - interval '1 minute' WHERE user_id = 49")
    for _time in range(2):  # whoever sees it first ends the login
        assert same_refusal(both, "POST", "/auth/jwt/refresh/", "", used) == (401, "token_not_valid")
    assert both.ask("SELECT count(*) FROM users_auditevent WHERE user_id = 49 AND kind = 'token_reused'") == [(1,)]


@pytest.mark.skipif(not shutil.which("wrk"), reason="needs wrk")
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.title)
def test_a_round_of_a_call_ends_without_a_refusal(both, call: Call):
    for server in both.servers if call.has_reference else [both.server]:
        done = measure(both, server, call, connections=2, seconds=1)
        assert done.rate > 0
        assert (done.refused, done.lost) == (0, 0)
        assert done.memory > 0


def test_all_stages_of_the_waterfall_give_the_same_answer(both):
    with stages_of(both) as stages:
        assert len({answer_of(both, server, path) for server, path in stages.values()}) == 1
