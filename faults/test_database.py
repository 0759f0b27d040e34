"""F4 and F6: PostgreSQL killed, frozen, or unreachable under load."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from faults.conftest import CYCLES
from faults.load import Load, call
from faults.processes import frozen, until
from faults.shapes import Production


@contextmanager
def killed(shape: Production) -> Iterator[None]:
    shape.postgres.kill()
    try:
        yield
    finally:
        shape.postgres.start()


@contextmanager
def stopped(shape: Production) -> Iterator[None]:
    with frozen(*shape.postgres.processes()):
        yield


@contextmanager
def cut_off(shape: Production) -> Iterator[None]:
    shape.to_database.reset()
    try:
        yield
    finally:
        shape.to_database.heal()


@contextmanager
def silent(shape: Production) -> Iterator[None]:
    shape.to_database.drop()
    try:
        yield
    finally:
        shape.to_database.heal()


FAULTS: dict[str, tuple[Callable, float]] = {
    "killed": (killed, 2),
    "frozen": (stopped, 5),
    "cut off": (cut_off, 2),
    "silent": (silent, 5),
}
"""With the seconds after which the answer is 503 at the latest."""

SLACK = 2  # seconds: the machine has other things to do
BACK = 5  # seconds after which the answer is 200 again


@pytest.mark.parametrize("name", FAULTS)
def test_while_the_database_is_away_the_answer_is_503_and_after_it_all_is_as_before(production, name):
    """F4 F6 G1"""
    processes = [server.process.pid for server in production.web]
    load = production.load(name.replace(" ", ""))
    with load.running():
        for _cycle in range(CYCLES):
            time.sleep(1)
            strike(production, load, name)
    assert load.answers()[None] == 0
    production.check(load)
    assert [server.process.pid for server in production.web] == processes


def strike(shape: Production, load: Load, name: str) -> None:
    fault, most = FAULTS[name]
    began = time.monotonic()
    with fault(shape):
        until(lambda: load.first(503, since=began), seconds=30)
        ready = [call(port, "GET", "/readyz", timeout=30) for port in shape.ports]
        health = [call(port, "GET", "/healthz", timeout=30) for port in shape.ports]
        time.sleep(most)
    healed = time.monotonic()
    until(lambda: load.first(200, since=healed), seconds=30)
    until(shape.is_ready)
    refused, back = load.first(503, since=began), load.first(200, since=healed)
    in_vain = max(seen.seconds for seen in load.seen if seen.status == 503 and seen.at >= began)
    print(f"{name}: 503 after {refused:.1f} s, each within {in_vain:.1f} s; 200 {back:.1f} s after its return")
    assert [answer.status for answer in ready] == [503] * len(ready)
    assert all(answer.body["failing"] == ["database"] for answer in ready)
    assert [answer.status for answer in health] == [200] * len(health)
    assert in_vain < most + SLACK
    assert back < BACK + SLACK
