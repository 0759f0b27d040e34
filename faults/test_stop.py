"""F13: SIGTERM under load, and a rolling restart."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor

from django.db import connection, transaction

from faults.conftest import CYCLES
from faults.load import call
from faults.processes import Supervised, until
from users.models import User
from users.tests.factories import make_user


def test_a_request_in_progress_is_answered_before_its_process_stops(production):
    """F13"""
    user = make_user()
    pair = production.sign_in(user)
    server, port = production.web[0], production.ports[0]
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            User.objects.select_for_update().get(pk=user.pk)
            body = {"username": f"renamed{user.pk}"}
            renamed = pool.submit(call, port, "PATCH", "/auth/users/me/", body, pair["access"])
            until(somebody_waits)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(1)
            assert not renamed.done()
        assert renamed.result().status == 200
    until(production.is_ready)


def somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])


def test_a_rolling_restart_costs_the_clients_nothing(production):
    """F13: out of the balancer, a moment for what is on its way, SIGTERM, up again, back in."""
    load = production.load("rolling")
    with load.running():
        for server, port in list(zip(production.web, production.ports, strict=True)) * CYCLES:
            time.sleep(0.5)
            production.balancer.upstreams.remove(("127.0.0.1", port))
            time.sleep(0.3)
            restart(server)
            until(production.is_ready)
            production.balancer.upstreams.append(("127.0.0.1", port))
        time.sleep(0.5)
    assert load.answers().keys().isdisjoint({503, None})
    production.check(load)


def restart(server: Supervised) -> None:
    old = server.process
    old.send_signal(signal.SIGTERM)
    old.wait(timeout=40)
    until(lambda: server.process is not old)
