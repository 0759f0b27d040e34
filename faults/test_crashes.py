"""kill -9 of each of our processes at random points under load."""

import random
import time

import psutil

from faults.conftest import CYCLES
from faults.processes import until


def a_moment() -> None:
    time.sleep(random.uniform(0.3, 1.5))


def test_a_killed_web_worker_takes_nothing_with_it(shape):
    """F1, and F5 on SQLite"""
    load = shape.load("worker")
    with load.running():
        for _cycle in range(2 * CYCLES):
            a_moment()
            server = random.choice(shape.web)
            victim = random.choice(until(server.children))
            victim.kill()
            until(lambda: shape.is_ready())
    shape.check(load)
    assert load.answers()[201] > 5


def test_a_killed_master_leaves_nobody_behind_and_its_successor_serves(shape):
    """F2"""
    load = shape.load("master")
    with load.running():
        for _cycle in range(2 * CYCLES):
            a_moment()
            server = random.choice(shape.web)
            orphans = until(server.children)
            server.kill()
            psutil.wait_procs(orphans, timeout=10)
            assert not [orphan for orphan in orphans if orphan.is_running()]
            until(lambda: shape.is_ready())
    shape.check(load)


def test_a_killed_celery_worker_loses_no_mail(production):
    """F3: the whole of it, or one process of its pool."""
    load = production.load("celery")
    with load.running():
        for _cycle in range(2 * CYCLES):
            a_moment()
            (worker,) = production.workers
            whole = random.random() < 0.5
            victims = worker.family() if whole else until(worker.children)[:1]
            for victim in victims:
                victim.kill()
            a_moment()
    production.check(load)
    production.check_mails(load)
