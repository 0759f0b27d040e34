"""What processes and the machine have used of its processors and memory."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psutil


def family(pid: int) -> list[psutil.Process]:
    """A process and all that came of it."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def named(text: str) -> list[psutil.Process]:
    """The processes with this text in their command lines, as PostgreSQL has the name of a database in its own."""
    running = psutil.process_iter(["cmdline"])
    return [process for process in running if text in " ".join(process.info["cmdline"] or ())]


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """Processor time that they have used so far; one that ended meanwhile has used none."""
    used = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        used += times.user + times.system
    return used


def memory(processes: Iterable[psutil.Process]) -> float:
    """MB of them together, with what they share counted once (PSS)."""
    kilobytes = 0
    for process in processes:
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        except (OSError, ProcessLookupError):
            continue
        kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kilobytes / 1000


@dataclass
class Span:
    """From its making on: what the machine's processors did, and for whom."""

    ours: Callable[[], list[psutil.Process]]
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._busy, self._ours = self._now()

    def _now(self) -> tuple[float, float]:
        times, here = psutil.cpu_times(), psutil.Process().cpu_times()
        busy = sum(times) - times.idle - times.iowait - getattr(times, "guest", 0) - getattr(times, "guest_nice", 0)
        own = here.user + here.system + here.children_user + here.children_system  # wrk is a child
        return busy, cpu_seconds(self.ours()) + own

    def disturbance(self) -> float:
        """What others, and the host by steal, have taken of the processors: 0 to 1."""
        busy, ours = self._now()
        others = (busy - self._busy) - (ours - self._ours)
        return max(0.0, others) / ((time.monotonic() - self.started) * (psutil.cpu_count() or 1))
