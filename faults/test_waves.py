"""Waves of registrations: 250 at once over four processes.

`WAVE_REGISTRATIONS` says how many in all, 500 if it is not set; SQLite gets half as many.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import quantiles
from threading import Barrier

import pytest
from django.db.models import Count

from config.tests.at_once import models_at
from conftest import check_invariants
from faults import shapes
from faults.load import Answer, call
from faults.shapes import Shape
from referrals.models import Referral
from users.models import User
from users.tests.factories import PASSWORD

WAVE, TWICE = 250, 25
REGISTRATIONS = int(os.environ.get("WAVE_REGISTRATIONS", "500"))


@pytest.fixture(scope="module")
def four_processes(postgres, django_db_blocker) -> Iterator[Shape]:
    with django_db_blocker.unblock(), shapes.production(postgres, web=2, WEB_WORKERS="2") as shape:
        yield shape


@pytest.fixture(scope="module")
def four_processes_on_sqlite(django_db_blocker) -> Iterator[Shape]:
    with django_db_blocker.unblock(), shapes.embedded(WEB_WORKERS="4") as shape:
        yield shape


@pytest.mark.parametrize(
    ("shape", "registrations"),
    [("four_processes", REGISTRATIONS), ("four_processes_on_sqlite", REGISTRATIONS // 2)],
    indirect=["shape"],
)
def test_waves_of_registrations_make_one_account_and_one_referral_each(shape, registrations):
    """C1 C16 G1: a tenth of each wave comes twice."""
    took: list[float] = []
    with models_at(shape.service.database_url):
        for start in range(0, registrations, WAVE):
            came = Counter(answer.status for answer in wave(shape, start, took))
            assert came == {201: WAVE - TWICE, 400: TWICE}, came
        emails = [f"wave{number}@example.com" for number in range(registrations)]
        accounts = User.objects.filter(email__in=emails)
        expected = registrations // WAVE * (WAVE - TWICE)
        assert accounts.count() == expected
        referrals = Referral.objects.filter(referred__in=accounts)
        assert referrals.count() == expected
        assert not referrals.values("referred").annotate(times=Count("id")).filter(times__gt=1).exists()
        check_invariants()
    within = quantiles(took, n=100)
    print(f"{len(took)} on {shape.__class__.__name__}: median {within[49]:.2f} s, 99 of 100 within {within[98]:.2f} s")


def wave(shape: Shape, start: int, took: list[float]) -> list[Answer]:
    """The answers to 250 sign-ups at once, 25 of them with addresses that others of them have, in capitals."""
    numbers = [*range(start, start + WAVE - TWICE), *range(start, start + TWICE)]
    barrier = Barrier(WAVE)

    def sign_up(place: int) -> Answer:
        email = f"wave{numbers[place]}@example.com"
        body = {"email": email if place < WAVE - TWICE else email.upper(), "password": PASSWORD}
        barrier.wait(timeout=60)
        began = time.monotonic()
        port, code = shape.ports[place % len(shape.ports)], shape.codes[place % len(shape.codes)]
        answer = call(port, "POST", "/api/register-with-referral/", body | {"referral_code": code}, timeout=120)
        took.append(time.monotonic() - began)
        assert not answer.problem, answer.problem
        return answer

    with ThreadPoolExecutor(WAVE) as pool:
        return list(pool.map(sign_up, range(WAVE)))
