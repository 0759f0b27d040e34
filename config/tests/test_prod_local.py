"""`make prod-local`: the service as on several machines, started and stopped by one command."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import pytest

from config.tests.live import NO_LIMITS, ROOT, free_port
from config.tests.test_readme import blocks_of

pytestmark = [pytest.mark.slow, pytest.mark.interface]

# Mail is brought by workers: a look at it waits for the three that there will be, and then finds their files.
PATIENTLY = """
grep() {
  for _look in $(seq 300); do
    [ "$(cat sent_emails/* 2>/dev/null | command grep -c ^Subject)" -ge 3 ] && break
    sleep 0.1
  done
  command grep "$1" "$2" sent_emails/*
}
"""


class Local:
    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "log"
        kept = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
        self.environment = (
            kept
            | NO_LIMITS
            | {
                "DJANGO_SETTINGS_MODULE": "config.settings",
                "PORT": str(self.port),
                "EMAIL_FILE_PATH": str(folder / "sent_emails"),
            }
        )

    def processes(self, about: str = "") -> dict[int, str]:
        """The processes that were started for this, by their number, with their command lines."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                environment, command = (process / "environ").read_bytes(), (process / "cmdline").read_bytes()
            except OSError:
                continue
            line = command.replace(b"\0", b" ").decode()
            if f"EMAIL_FILE_PATH={self.folder}/".encode() in environment and about in line:
                found[int(process.name)] = line
        return found

    def until(self, happened: Callable[[], object]) -> None:
        for _look in range(900):
            if happened():
                return
            time.sleep(0.1)
        raise AssertionError(f"it did not happen:\n{self.log.read_text()}")

    def answers(self) -> bool:
        return answers(f"{self.url}/readyz")


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=10) as answer:
            return answer.status == 200
    except OSError:
        return False


@contextmanager
def running(folder: Path) -> Iterator[Local]:
    local = Local(folder)
    with open(local.log, "wb") as log:
        command = [sys.executable, "deploy/local.py"]
        process = subprocess.Popen(command, cwd=ROOT, env=local.environment, stdout=log, stderr=log)
        try:
            local.until(lambda: process.poll() is not None or local.url in local.log.read_text())
            yield local
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=90) == 0, local.log.read_text()


def test_the_quick_start_goes_through_all_of_it(tmp_path):
    [commands] = blocks_of("README.md", "Quick start")
    with running(tmp_path) as local:
        local.until(local.answers)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", PATIENTLY + commands],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "URL": local.url},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        assert '"referrer":{"username":"ada"}' in done.stdout
        assert "problem" not in done.stdout
        assert "Subject: Your referral code" in done.stdout
    said = local.log.read_text()
    assert re.search(r"worker-[12] \| .*deliver_waiting_mail.* succeeded", said)
    assert said.splitlines()[-1] == "stopped"
    assert local.processes() == {}
    assert "Traceback" not in said


def test_who_dies_is_started_again_and_people_do_not_notice(tmp_path):
    """F2, F3"""
    with running(tmp_path) as local:
        local.until(local.answers)
        local.until(lambda: "behind it" in local.log.read_text())
        for port in re.search(r"behind it (\d+) and (\d+)", local.log.read_text()).groups():
            local.until(partial(answers, f"http://127.0.0.1:{port}/healthz"))
        local.until(lambda: local.log.read_text().count("celery@") or "ready." in local.log.read_text())
        for about in ("config beat", "config.serve", "worker -n 1@"):
            before = local.log.read_text().count("it is started again")
            os.kill(min(local.processes(about)), signal.SIGKILL)
            local.until(lambda before=before: local.log.read_text().count("it is started again") > before)
            assert local.answers()
        local.until(lambda: local.processes("config beat") and local.processes("worker -n 1@"))
    assert local.processes() == {}
