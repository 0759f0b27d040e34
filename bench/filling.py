"""Fills an empty, migrated database: people with a code each, and those they brought.

The ids are known beforehand: 1 to `referrers` are people with a code, all others are referrals. Three of the first are
FEW, SOME and MANY, with 20, 1,000 and 100,000 referrals, or a tenth of all where there are not that many; the other
referrals are spread over the rest, and all of them through the table, as they are when they come over years.
"""

import sqlite3
from contextlib import closing, suppress
from urllib.parse import urlsplit

import psycopg

from bench.reference.passwords import encoded

PASSWORD = "correct horse battery"  # noqa: S105 (of accounts made up here)
FEW, SOME, MANY = 1, 2, 3
POSTGRESQL = {
    "series": "SELECT generate_series({first}, {last}) AS k",
    "moment": "timestamptz '2020-01-01 00:00Z' + k * interval '1 second'",
    "end": "now() + interval '1 year'",
    "digits": "lpad(k::text, 8, '0')",
}
SQLITE = {
    "series": "WITH RECURSIVE n(k) AS (SELECT {first} UNION ALL SELECT k + 1 FROM n WHERE k < {last}) SELECT k FROM n",
    "moment": "strftime('%Y-%m-%d %H:%M:%f', '2020-01-01', '+' || k || ' seconds')",
    "end": "strftime('%Y-%m-%d %H:%M:%f', 'now', '+1 year')",
    "digits": "printf('%08d', k)",
}


def many_of(referrals: int) -> int:
    """How many referrals MANY has."""
    return min(100_000, referrals // 10)


def email_of(person: int) -> str:
    return f"person{person}@example.com"


def code_of(person: int) -> str:
    return f"BENCH-{person:08}"


def fill(database_url: str, referrers: int, referrals: int) -> None:
    if referrers < 500 or referrals < 1000:
        raise SystemExit("BENCH_USERS: 500 or more; BENCH_REFERRALS: 1,000 or more")
    if database_url.startswith("sqlite"):
        with closing(sqlite3.connect(urlsplit(database_url).path)) as database, database:
            for statement in statements(SQLITE, referrers, referrals):
                database.execute(statement)
        return
    with psycopg.connect(database_url.replace("postgres://", "postgresql://", 1), autocommit=True) as server:
        with suppress(psycopg.errors.InsufficientPrivilege):
            server.execute("SET session_replication_role = replica")  # these rows need no check of foreign keys
        for statement in statements(POSTGRESQL, referrers, referrals):
            server.execute(statement.encode())
        for table, rows in {"users_user": referrers + referrals, "referrals_referralcode": referrers}.items():
            server.execute("SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)", [table, rows])
        server.execute("VACUUM (ANALYZE, FREEZE)")


def statements(dialect: dict[str, str], referrers: int, referrals: int) -> list[str]:
    few, some, many = (referrals // most for most in (20, min(1000, referrals // 10), many_of(referrals)))
    people, moment, end = (
        dialect["series"].format(first=1, last=referrers + referrals),
        dialect["moment"],
        dialect["end"],
    )
    holders = dialect["series"].format(first=1, last=referrers)
    brought = dialect["series"].format(first=1, last=referrals)
    digits = dialect["digits"]
    whose = f"""CASE WHEN k % {many} = 3 THEN {MANY} WHEN k % {some} = 2 THEN {SOME} WHEN k % {few} = 1 THEN {FEW}
                ELSE {MANY + 1} + k % {referrers - MANY} END"""
    return [
        f"""
        INSERT INTO users_user (id, email, username, password, registered_at, discoverable_by_email, language,
                                is_active, is_staff, is_superuser, token_version)
        SELECT k, 'person' || k || '@example.com', 'person' || k, '{encoded(PASSWORD)}', {moment}, true, 'en', true,
               false, false, 0
        FROM ({people}) series
        """,  # noqa: S608 (our own numbers and hash)
        f"""
        INSERT INTO referrals_referralcode (id, owner_id, code, folded, created_at, expires_at)
        SELECT k, k, 'BENCH-' || {digits}, 'BENCH' || {digits}, {moment}, {end} FROM ({holders}) series
        """,  # noqa: S608 (our own numbers)
        f"""
        INSERT INTO referrals_lookupcount (owner_id, lookups) SELECT k, 0 FROM ({holders}) series
        """,  # noqa: S608 (our own numbers)
        f"""
        INSERT INTO referrals_referral (referrer_id, referred_id, code_id, created_at)
        SELECT {whose}, {referrers} + k, {whose}, {moment} FROM ({brought}) series
        """,  # noqa: S608 (our own numbers)
    ]
