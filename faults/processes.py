"""The processes of a service, and what happens to them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil

from config.tests.live import ROOT

WORKER = [sys.executable, "-m", "celery", "-A", "config", "worker", "--concurrency", "2"]


def until(happened: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait until it happens and return what it is."""
    give_up = time.monotonic() + seconds
    while not (what := happened()):
        assert time.monotonic() < give_up, "it did not happen in time"
        time.sleep(0.02)
    return what


class Supervised:
    """A process that is started anew whenever it ends, until it is stopped."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path, **options: Any) -> None:
        self.starts = 0
        self._start = lambda: subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=self._log, stderr=self._log, start_new_session=True, **options
        )
        self._log = log.open("ab")
        self._stopping = Event()
        self.process = self._start()
        self._thread = Thread(target=self._keep_up, daemon=True)
        self._thread.start()

    def _keep_up(self) -> None:
        while True:
            self.process.wait()
            if self._stopping.wait(timeout=0.2):
                return
            self.starts += 1
            self.process = self._start()

    def stop(self) -> None:
        """End it the way a supervisor does; what has not ended then is killed, its children too."""
        self._stopping.set()
        family = self.family()
        self.process.terminate()
        _gone, alive = psutil.wait_procs(family, timeout=30)
        for process in alive:
            process.kill()
        self._thread.join()
        self._log.close()

    def family(self) -> list[psutil.Process]:
        """The process and its children."""
        try:
            process = psutil.Process(self.process.pid)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def children(self) -> list[psutil.Process]:
        """Those that do the work: a web worker, a pool process of Celery."""
        return self.family()[1:]

    def kill(self) -> None:
        """kill -9, of this process alone."""
        self.process.kill()


@contextmanager
def supervised(command: list[str], environment: dict[str, str], log: Path, **options: Any) -> Iterator[Supervised]:
    process = Supervised(command, environment, log, **options)
    try:
        yield process
    finally:
        process.stop()


@contextmanager
def frozen(*processes: psutil.Process) -> Iterator[None]:
    try:
        for process in processes:
            with suppress(psutil.NoSuchProcess):  # it ended since it was listed
                process.suspend()
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def kill_all(processes: list[psutil.Process]) -> None:
    """kill -9 of all of them, the first one first."""
    for process in processes:
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    psutil.wait_procs(processes, timeout=10)
