"""Transactions that can get into each other's way."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from django.db import OperationalError, connection

P = ParamSpec("P")
T = TypeVar("T")
DEADLOCK_DETECTED = "40P01"  # among PostgreSQL's error codes


def again_after_deadlock(work: Callable[P, T]) -> Callable[P, T]:
    """Do `work`, a whole transaction, once more where PostgreSQL ended it to let another one through.

    A sign-up with an address locks that address and then its referrer; a referrer who takes that very address locks
    the two the other way round.
    """

    @wraps(work)
    def work_or_again(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return work(*args, **kwargs)
        except OperationalError as error:
            deadlock = getattr(error.__cause__, "sqlstate", "") == DEADLOCK_DETECTED
            if not deadlock or connection.in_atomic_block:
                raise
        return work(*args, **kwargs)

    return work_or_again
