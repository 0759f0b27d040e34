"""The calls that are measured, each as the lines that wrk sends."""

import json
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.filling import FEW, MANY, PASSWORD, code_of, email_of, many_of
from bench.reference.keys import FAMILY_LIFETIME, REFRESH_LIFETIME, digest
from bench.stand import Stand

DIFFERENT = 1000
"""How many people, or codes, a call is about in turn."""
SET_APART = 200
"""How many people have codes that come and go; no more connections than that."""

Line = tuple[str, str, str, Any]
"""Method, path, access token, body."""


def _nothing(_stand: Stand) -> None:
    pass


@dataclass(frozen=True)
class Call:
    letter: str
    title: str
    lines: Callable[[Stand, int], list[Line]]
    """For so many connections; their number is a multiple of it."""
    before: Callable[[Stand], None] = _nothing
    """Before each round."""
    mode: str = ""
    has_reference: bool = True


def token_of(stand: Stand, person: int) -> str:
    return stand.keys.access_token(stand.keys.new_claims("refresh", 0, sub=str(person), ver=0, auth_time=0))


def some_people(stand: Stand, connections: int) -> list[int]:
    """The same ones for both, for each connection as many."""
    choose = random.Random(5)  # noqa: S311 (no secret)
    most = max(1, DIFFERENT // connections) * connections
    return [choose.randint(MANY + 1, stand.referrers - SET_APART) for _person in range(most)]


def own_people(stand: Stand, connections: int) -> range:
    """One for each connection, whom no other call is about."""
    return range(stand.referrers, stand.referrers - connections, -1)


def same(line: Line, connections: int) -> list[Line]:
    return [line] * connections


def list_of_20(stand: Stand, connections: int) -> list[Line]:
    return same(("GET", f"/api/referrals/{FEW}/", token_of(stand, FEW), None), connections)


def first_page(stand: Stand, connections: int) -> list[Line]:
    return same(("GET", f"/api/referrals/{MANY}/?limit=100", token_of(stand, MANY), None), connections)


def deep_page(stand: Stand, connections: int) -> list[Line]:
    """Nine tenths down the list."""
    deep = "SELECT id FROM referrals_referral WHERE referrer_id = %s ORDER BY id DESC OFFSET %s LIMIT 1"
    [[position]] = stand.ask(deep, MANY, many_of(stand.referrals) * 9 // 10)
    path = f"/api/referrals/{MANY}/?limit=100&cursor={stand.keys.cursor(position)}"
    return same(("GET", path, token_of(stand, MANY), None), connections)


def look_up(stand: Stand, connections: int) -> list[Line]:
    token = token_of(stand, FEW)
    people = some_people(stand, connections)
    return [("GET", f"/api/referral-code/?email={email_of(person)}", token, None) for person in people]


def log_in(stand: Stand, connections: int) -> list[Line]:
    people = some_people(stand, connections)
    return [("POST", "/auth/jwt/create/", "", {"email": email_of(person), "password": PASSWORD}) for person in people]


def registering(code: str) -> Line:
    person = {"email": "new{unique}@example.com", "password": PASSWORD, "referral_code": code}
    return "POST", "/api/register-with-referral/", "", person


def register(stand: Stand, connections: int) -> list[Line]:
    return [registering(code_of(person)) for person in some_people(stand, connections)]


def register_with_one_code(stand: Stand, connections: int) -> list[Line]:
    return same(registering(code_of(MANY)), connections)


def change_code(stand: Stand, connections: int) -> list[Line]:
    """Each connection one person of its own, whose code is made and deleted in turn."""
    end = (datetime.now(UTC) + timedelta(days=30)).isoformat()
    lines: list[Line] = []
    for person in own_people(stand, connections):
        token = token_of(stand, person)
        lines += [
            ("POST", "/api/referral-code/", token, {"expiration_date": end}),
            ("DELETE", "/api/referral-code/", token, None),
        ]
    return lines


def no_code(stand: Stand) -> None:
    """Those that come and go are gone, so that a round can begin with making some."""
    retire = "UPDATE referrals_referralcode SET retired_at = now() WHERE retired_at IS NULL AND owner_id > %s"
    stand.ask(retire, stand.referrers - SET_APART)


def check_code(stand: Stand, connections: int) -> list[Line]:
    return [("GET", f"/api/referral-code/{code_of(person)}/", "", None) for person in some_people(stand, connections)]


def refresh(stand: Stand, connections: int) -> list[Line]:
    """Each connection a sign-in of its own, and then what came of it."""
    lines: list[Line] = []
    for person in own_people(stand, connections):
        claims = stand.keys.new_claims("refresh", REFRESH_LIFETIME, sub=str(person), ver=0)
        end = claims["iat"] + FAMILY_LIFETIME
        family = "INSERT INTO users_tokenfamily (user_id, current, previous, expires_at)"
        values = [person, digest(claims["jti"]), datetime.fromtimestamp(end, UTC)]
        [[number]] = stand.ask(f"{family} VALUES (%s, %s, '', %s) RETURNING id", *values)
        token = stand.keys.encode(claims | {"fam": number, "end": end, "auth_time": claims["iat"]})
        lines.append(("POST", "/auth/jwt/refresh/", "", {"refresh": token}))
    return lines


def share_page(stand: Stand, connections: int) -> list[Line]:
    return [("GET", f"/r/{code_of(person)}", "", None) for person in some_people(stand, connections)]


def plan_of(lines: list[Line]) -> str:
    texts = [(method, path, token, json.dumps(body) if body else "") for method, path, token, body in lines]
    return "".join("\t".join(text) + "\n" for text in texts)


def round_name() -> str:
    """For what is to be unique in all rounds."""
    return secrets.token_hex(4)


CALLS = [
    Call("a", "list of 20 referrals", list_of_20),
    Call("b", "page of 100 out of many, the first", first_page),
    Call("b", "page of 100 out of many, deep", deep_page),
    Call("c", "look-up by e-mail", look_up),
    Call("d", "sign in", log_in),
    Call("e", "register with a code", register),
    Call("f", "create and delete one's code", change_code, no_code),
    Call("g", "public code check", check_code),
    Call("h", "refresh", refresh, mode="chain"),
    Call("i", "landing page", share_page, has_reference=False),
]
