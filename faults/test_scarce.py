"""F11: too few file descriptors, too little memory, a disk that errs. What cannot be done is answered with 503, or the
process ends and is started again."""

import resource
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from config.tests.at_once import models_at
from faults import shapes
from faults.load import Load
from faults.processes import until
from faults.shapes import Embedded, Shape


@contextmanager
def limited(shape: Shape, what: int, most: Callable[[psutil.Process], int]) -> Iterator[None]:
    """Hold each web worker to a limit for a while."""
    workers = shape.web[0].children()
    before = [worker.rlimit(what) for worker in workers]
    for worker in workers:
        worker.rlimit(what, (most(worker), before[0][1]))
    try:
        yield
    finally:
        for worker, limits in zip(workers, before, strict=True):
            if worker.is_running():
                worker.rlimit(what, limits)


def goes_on_after(shape: Shape, load: Load, fault: Any) -> None:
    with load.running(4):
        until(lambda: load.answers()[201] > 3)
        began = time.monotonic()
        with fault:
            time.sleep(3)
        healed = time.monotonic()
        until(lambda: load.first(201, since=healed), seconds=30)
        print(f"{load.name}: {dict(load.answers(began, healed))}, 201 {load.first(201, since=healed):.1f} s after it")
    shape.check(load)


@contextmanager
def many_connections(shape: Shape) -> Iterator[None]:
    """More than a worker has file descriptors for."""
    with limited(shape, resource.RLIMIT_NOFILE, lambda worker: 64), ExitStack() as stack:
        for _connection in range(160):
            stack.enter_context(socket.create_connection(("127.0.0.1", shape.port)))
        yield


def test_a_server_without_file_descriptors_comes_back_once_it_has_some(embedded):
    """F11"""
    load = embedded.load("files")
    goes_on_after(embedded, load, many_connections(embedded))


def test_a_server_without_memory_comes_back_once_it_has_some(embedded):
    """F11: an eighth of what one hash of a password takes."""
    load = embedded.load("memory")
    limit = limited(embedded, resource.RLIMIT_AS, lambda worker: worker.memory_info().vms + 2**21)
    goes_on_after(embedded, load, limit)


@pytest.mark.parametrize("call", ["sync/fdatasync", "rw/pwrite", "rw/pread"])
def test_a_disk_that_errs_now_and_then_costs_an_answer_and_nothing_that_was_acknowledged(failing, call):
    """F11: one call in five fails with EIO."""
    shape, order = failing

    @contextmanager
    def errors() -> Iterator[None]:
        order(f"enable_random name=posix/io/{call},probability=0.2")
        try:
            yield
        finally:
            order(f"disable name=posix/io/{call}")

    with models_at(shape.service.database_url):
        goes_on_after(shape, shape.load(call.partition("/")[2]), errors())


@pytest.fixture(scope="module")
def failing(django_db_blocker) -> Iterator[tuple[Embedded, Callable[[str], None]]]:
    """The service on a disk that errs when it is told to."""
    if not shutil.which("fiu-run"):
        pytest.skip("needs fiu-utils, which has system calls fail")
    with tempfile.TemporaryDirectory(prefix="faults_") as folder:
        wrapper = ["fiu-run", "-x", "-f", f"{folder}/fiu"]

        def order(command: str) -> None:
            for pipe in Path(folder).glob("fiu-*.in"):
                pid = pipe.stem.removeprefix("fiu-")
                if psutil.pid_exists(int(pid)):
                    subprocess.run(["fiu-ctrl", "-f", f"{folder}/fiu", "-c", command, pid], check=True, timeout=10)

        with django_db_blocker.unblock(), shapes.embedded(wrapper=wrapper) as shape:
            yield shape, order
