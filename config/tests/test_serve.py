"""The server for production: it stops when it is told to."""

import os
import signal
import subprocess
import sys
from urllib.request import Request, urlopen

import pytest

from config.tests.live import ROOT, free_port, fresh_database, new_service, running_server


@pytest.mark.slow
@pytest.mark.interface
def test_a_server_told_to_stop_while_its_workers_load_stops(tmp_path):
    """F13"""
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": "",
        "ENV_FILE": str(tmp_path / ".env"),
        "PORT": str(free_port()),
        "WEB_WORKERS": "4",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "config.serve"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert server.stdout
    next(line for line in server.stdout if "/admin/" in line)  # the last thing printed before the workers are made
    server.send_signal(signal.SIGTERM)
    said, _nothing = server.communicate(timeout=90)
    assert "shutdown completed" in said
    assert "refused to gracefully stop" not in said


MAKE_CODE = """
from datetime import timedelta
from django.utils import timezone
from referrals import services
ada = services.register(email="ada@example.com", password="correct horse battery", username="ada")
services.issue_code(owner=ada, expires_at=timezone.now() + timedelta(days=1), wish="ADA-2030")
"""
COUNT = "from referrals.models import Click, ClickDay; print(Click.objects.count(), ClickDay.objects.get().clicks)"


@pytest.mark.slow
def test_what_waits_to_be_counted_is_written_before_a_server_stops(tmp_path):
    """R11, F13"""
    with fresh_database(tmp_path) as database_url:
        service = new_service(tmp_path, database_url, WEB_WORKERS="2")
        service.manage("shell", "-v0", "-c", MAKE_CODE)
        with running_server(service):
            for number in range(60):
                request = Request(f"{service.url}/r/ADA-2030", headers={"User-Agent": f"Mozilla/5.0 Firefox/{number}"})
                urlopen(request, timeout=10).close()
        assert service.manage("shell", "-v0", "-c", COUNT).split() == ["60", "60"]
