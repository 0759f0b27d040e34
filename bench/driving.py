"""Drives servers with wrk, in turn, and notes what each round was like."""

import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from bench.calls import Call, plan_of, round_name
from bench.filling import PASSWORD
from bench.machine import Span, cpu_seconds, memory
from bench.reference.passwords import encoded
from bench.stand import HEADERS, Server, Stand

SCRIPT = Path(__file__).with_name("drive.lua")


def number(name: str, default: int) -> int:
    return int(os.environ.get(name, default))


USERS = number("BENCH_USERS", 100_000)
REFERRALS = number("BENCH_REFERRALS", 10 * USERS)
ROUNDS = number("BENCH_ROUNDS", 5)
SECONDS = number("BENCH_SECONDS", 10)
CONNECTIONS = number("BENCH_CONNECTIONS", 16)
REPEATS = 2  # of a round that was disturbed
SETTLE = 1  # seconds, for what is in progress when wrk ends
QUIET = 0.1  # of the processors, that others may take


def ratio(one: float, other: float) -> float:
    """0 where there is nothing to compare with."""
    return one / other if other else 0.0


@dataclass
class Round:
    """One round of one server. Times are in milliseconds, memory in MB."""

    rate: float
    p50: float
    p99: float
    refused: int
    lost: int
    web_cpu: float
    database_cpu: float
    statements: float | None
    memory: float
    disturbance: float

    @property
    def was_disturbed(self) -> bool:
        return self.disturbance > QUIET


@dataclass
class Result:
    """All rounds of one call."""

    call: Call
    rounds: dict[str, list[Round]]
    repeated: int = 0

    def median(self, server: str, what: str) -> float | None:
        values = [getattr(each, what) for each in self.rounds[server]]
        return None if None in values else median(values)

    @property
    def ratios(self) -> list[float]:
        """Of the rates of the first server to the second, round by round."""
        first, second = self.rounds.values()
        return [ratio(one.rate, other.rate) for one, other in zip(first, second, strict=True)]

    @property
    def is_valid(self) -> bool:
        return not any(each.refused or each.lost for rounds in self.rounds.values() for each in rounds)

    @property
    def disturbed(self) -> int:
        return sum(each.was_disturbed for rounds in self.rounds.values() for each in rounds)

    def as_json(self) -> dict[str, Any]:
        rounds = {name: [asdict(each) for each in rounds] for name, rounds in self.rounds.items()}
        about = {"call": self.call.letter, "title": self.call.title, "valid": self.is_valid}
        return about | {"repeated": self.repeated, "rounds": rounds}


def compare(stand: Stand, call: Call, connections: int = CONNECTIONS) -> Result:
    """Rounds of the service and, where it has the call, of the reference: A B A B, after one of each to warm up."""
    servers = stand.servers if call.has_reference else [stand.server]
    return alternate(stand, {server.name: (server, call) for server in servers}, connections)


def alternate(stand: Stand, sides: dict[str, tuple[Server, Call]], connections: int = CONNECTIONS) -> Result:
    first = next(iter(sides.values()))[1]
    result = Result(first, {name: [] for name in sides})
    for server, call in sides.values():
        measure(stand, server, call, connections, max(1, SECONDS // 3))
    for _round in range(ROUNDS):
        for name, (server, call) in sides.items():
            for repeat in range(REPEATS + 1):
                done = measure(stand, server, call, connections, SECONDS)
                if not done.was_disturbed or repeat == REPEATS:
                    break
                result.repeated += 1
            result.rounds[name].append(done)
            print(f"{call.letter} {call.title}, {name}: {done.rate:.0f}/s", file=sys.stderr, flush=True)
    return result


def measure(stand: Stand, server: Server, call: Call, connections: int, seconds: int) -> Round:
    call.before(stand)
    lines = plan_of(call.lines(stand, connections))

    def used() -> tuple[float, float]:
        return cpu_seconds(server.processes()), cpu_seconds(stand.backends())

    before, statements, span = used(), stand.statements(), Span(stand.processes)
    told = run_wrk(server.url, lines, connections, seconds, call.mode)
    disturbance = span.disturbance()
    time.sleep(SETTLE)
    after, ran = used(), stand.statements()
    done = told["requests"] + connections  # which all had another one in progress
    return Round(
        rate=told["requests"] / told["seconds"],
        p50=told["p50"],
        p99=told["p99"],
        refused=told["refused"],
        lost=told["lost"],
        web_cpu=(after[0] - before[0]) * 1000 / done,
        database_cpu=(after[1] - before[1]) * 1000 / done,
        statements=None if ran is None or statements is None else (ran - statements - 1) / done,
        memory=memory(server.processes()),
        disturbance=disturbance,
    )


def run_wrk(url: str, lines: str, connections: int, seconds: int, mode: str) -> dict[str, Any]:
    headers = [part for name, value in HEADERS.items() for part in ("-H", f"{name}: {value}")]
    with tempfile.NamedTemporaryFile("w", suffix=".plan") as plan:
        plan.write(lines)
        plan.flush()
        sizes = ["-t", str(connections), "-c", str(connections), "-d", f"{seconds}s", "--timeout", "10s"]
        arguments = [plan.name, round_name(), str(connections), mode]
        command = ["wrk", *sizes, "-s", str(SCRIPT), *headers, url, "--", *arguments]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(told.splitlines()[-1])


def hashes_per_second() -> float:
    """How many passwords all processors hash, doing nothing else."""
    end, processors = time.monotonic() + SECONDS, psutil.cpu_count() or 1

    def hash_on(_thread: int) -> int:
        done = 0
        while time.monotonic() < end:
            encoded(PASSWORD)
            done += 1
        return done

    with ThreadPoolExecutor(processors) as pool:
        return sum(pool.map(hash_on, range(processors))) / SECONDS
