"""Passwords: argon2id with the service's parameters, hashed in threads, and the service's rules."""

import asyncio
import gzip
import os
import re
from concurrent.futures import ThreadPoolExecutor
from difflib import SequenceMatcher
from importlib.resources import files

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, salt_len=22)  # Django's salts are that long
ALGORITHM = "argon2"  # what Django writes before the hash
NOBODYS = ALGORITHM + HASHER.hash(os.urandom(16).hex())
"""Looked at where there is no account, which takes as long."""

COMMON = frozenset(
    gzip.decompress((files("django.contrib.auth") / "common-passwords.txt.gz").read_bytes()).decode().split()
)
PRODUCT = "referral"

_threads = ThreadPoolExecutor(os.cpu_count(), "argon2")  # more would only share the cores


def encoded(password: str) -> str:
    return ALGORITHM + HASHER.hash(password)


def matches(password: str, stored: str) -> bool:
    try:
        return HASHER.verify(stored.removeprefix(ALGORITHM), password)
    except (InvalidHashError, VerifyMismatchError):
        return False


def is_outdated(stored: str) -> bool:
    return HASHER.check_needs_rehash(stored.removeprefix(ALGORITHM))


async def hash_password(password: str) -> str:
    return await asyncio.get_running_loop().run_in_executor(_threads, encoded, password)


async def verify(password: str, stored: str) -> bool:
    return await asyncio.get_running_loop().run_in_executor(_threads, matches, password, stored)


def weakness(password: str, email: str, username: str) -> str | None:
    """The code of what is wrong with a password that somebody chooses; None where nothing is."""
    lowered = password.lower()
    if len(password) < 8:
        return "password_too_short"
    for value in filter(None, (email.lower(), username.lower())):
        for part in (*re.split(r"\W+", value), value):
            is_far_shorter = len(password) >= 10 * len(part) and len(part) < 0.35 * len(password)
            if not is_far_shorter and SequenceMatcher(a=lowered, b=part).quick_ratio() >= 0.7:
                return "password_too_similar"
    names = (PRODUCT, email, email.partition("@")[0], username)
    if any(name.lower() in lowered for name in names if len(name) >= 4):
        return "password_contains_name"
    return "password_too_common" if lowered.strip() in COMMON else None
