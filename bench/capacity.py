"""What one call costs: `python .ci/with_postgres.py python -m bench.capacity [calls] [referrals]`.

Processor time is read off the processes of the web server and of PostgreSQL, so that the figures hold whatever else the
machine is doing: milliseconds a call of each, and the bytes of write-ahead log. Then what a row takes on disk.
`docs/scale.md` reckons with these.
"""

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from itertools import count
from threading import local
from urllib.parse import urlsplit

import psycopg

from bench.machine import cpu_seconds, named
from config.tests.live import Service, running_service

PASSWORD = "correct horse battery"  # noqa: S105 (of accounts made up here)
CLIENTS = 4
Call = tuple[str, str, dict | None, str]

_connections, _numbers = local(), count(1)


def ask(service: Service, call: Call) -> dict:
    method, path, body, token = call
    if not hasattr(_connections, "mine"):
        _connections.mine = HTTPConnection(urlsplit(service.url).netloc)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    _connections.mine.request(method, path, json.dumps(body) if body else None, headers)
    answer = _connections.mine.getresponse()
    content = answer.read()
    if answer.status >= 300:
        raise SystemExit(f"{method} {path}: {answer.status} {content[:200]!r}")
    return json.loads(content) if content else {}


def fill(database: psycopg.Connection, referrer: int, code: int, referrals: int) -> None:
    """Give `referrer` this many referrals who signed up over the last year."""
    database.execute(
        """
        WITH people AS (
            INSERT INTO users_user (email, username, password, discoverable_by_email, language, is_active, is_staff,
                                    is_superuser, token_version)
            SELECT 'filled' || n || '@example.com', 'filled' || n, '!', true, 'en', true, false, false, 0
            FROM generate_series(1, %(referrals)s) n RETURNING id
        )
        INSERT INTO referrals_referral (referrer_id, referred_id, code_id, created_at)
        SELECT %(referrer)s, id, %(code)s, now() - interval '1 year' * random() FROM people
        """,
        {"referrals": referrals, "referrer": referrer, "code": code},
    )
    database.execute("VACUUM ANALYZE")


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    referrals = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    with running_service(workers=2) as service:
        name = urlsplit(service.database_url).path[1:]
        database = psycopg.connect(service.database_url.replace("postgres://", "postgresql://"), autocommit=True)
        ada = {"email": "ada@example.com", "password": PASSWORD}
        ada_id = ask(service, ("POST", "/auth/users/", ada | {"username": "ada"}, ""))["id"]
        token = ask(service, ("POST", "/auth/jwt/create/", ada, ""))["access"]
        code = ask(service, ("POST", "/api/referral-code/", {"expiration_date": "2030-12-31"}, token))["code"]
        [[code_id]] = database.execute("SELECT id FROM referrals_referralcode").fetchall()
        fill(database, ada_id, code_id, referrals)

        def register() -> None:
            person = {"email": f"new{next(_numbers)}@example.com", "password": PASSWORD, "referral_code": code}
            ask(service, ("POST", "/api/register-with-referral/", person, ""))

        def log_in() -> None:
            ask(service, ("POST", "/auth/jwt/create/", ada, ""))

        def refresh() -> None:
            pair = {"refresh": _connections.__dict__.get("refresh")}
            if not pair["refresh"]:
                pair = ask(service, ("POST", "/auth/jwt/create/", ada, ""))
            answer = ask(service, ("POST", "/auth/jwt/refresh/", {"refresh": pair["refresh"]}, ""))
            _connections.refresh = answer["refresh"]

        def read(path: str) -> Callable[[], object]:
            return lambda: ask(service, ("GET", path, None, token))

        kinds: dict[str, Callable[[], object]] = {
            "register with a code": register,
            "sign in": log_in,
            "refresh": refresh,
            "list of 20 referrals": read(f"/api/referrals/{ada_id}/"),
            "look up a code by address": read("/api/referral-code/?email=ada@example.com"),
            "check a code": read(f"/api/referral-code/{code}/"),
            "summary": read(f"/api/referrals/{ada_id}/summary/"),
        }
        print("| call | web, ms | PostgreSQL, ms | log, bytes |\n|---|---|---|---|")
        with ThreadPoolExecutor(CLIENTS) as pool:

            def run(call: Callable[[], object], times: int) -> None:
                for done in [pool.submit(call) for _time in range(times)]:
                    done.result()

            def state() -> tuple[float, float, int]:
                time.sleep(1)  # for what is done after the answers
                [[log]] = database.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchall()
                return cpu_seconds(named("config.serve")) * 1000, cpu_seconds(named(f" {name} ")) * 1000, int(log)

            for title, call in kinds.items():
                run(call, 20)
                before = state()
                run(call, calls)
                after = state()
                spent = [(late - early) / calls for early, late in zip(before, after, strict=True)]
                print(f"| {title} | {spent[0]:.2f} | {spent[1]:.2f} | {spent[2]:,.0f} |", flush=True)
        print("\n| table | rows | bytes a row, with its indexes |\n|---|---|---|")
        for table in ("users_user", "referrals_referral"):
            [[rows, size]] = database.execute(
                f"SELECT count(*), pg_total_relation_size('{table}') FROM {table}"  # noqa: S608 (names from above)
            ).fetchall()
            print(f"| {table} | {rows:,} | {size / rows:,.0f} |")
        database.close()


if __name__ == "__main__":
    main()
