"""The server for production: it stops when it is told to."""

import os
import signal
import subprocess
import sys

import pytest

from config.tests.live import ROOT, free_port


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
