import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import HashingError, VerificationError, VerifyMismatchError
from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher

T = TypeVar("T")


@cache
def _threads() -> ThreadPoolExecutor:
    """As many as this process has processors to itself: more hashes at once are none the quicker.

    glibc keeps the memory of a hash at hand in each thread that had one. So the others have none.
    """
    return ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // settings.WEB_WORKERS), "hashing")


def _in_turn(hash_it: Callable[[], T]) -> T:
    """Raises MemoryError where there is none, for the hash or for the thread."""
    try:
        return _threads().submit(hash_it).result()
    except (HashingError, RuntimeError) as error:  # the parameters leave nothing else to go wrong
        raise MemoryError from error


class Argon2idHasher(Argon2PasswordHasher):
    """Argon2id with 19 MiB, two passes, one lane: the first choice of OWASP's Password Storage Cheat Sheet."""

    time_cost = 2
    memory_cost = 19 * 1024  # KiB
    parallelism = 1

    def encode(self, password: str, salt: str) -> str:
        return _in_turn(lambda: super(Argon2idHasher, self).encode(password, salt))

    def verify(self, password: str, encoded: str) -> bool:
        """Where memory is out, Django would take a right password for a wrong one."""
        own = encoded[encoded.index("$") :]  # without the name that Django puts before it
        try:
            return _in_turn(lambda: PasswordHasher().verify(own, password))
        except VerifyMismatchError:
            return False
        except VerificationError as error:
            raise MemoryError from error
