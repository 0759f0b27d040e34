"""What is counted, and how Prometheus reads it. `docs/operations.md` says what each is for.

Counters are added to where the thing happens. Where `PROMETHEUS_MULTIPROC_DIR` is set (see `config.serve`), each
process keeps its own in a file there, and any of them tells the sum. What the database knows is asked for when it is
read.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import prometheus_client
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

OWN = CollectorRegistry()  # without what the library says of one process and Python


class Counter(prometheus_client.Counter):
    labels = cache(prometheus_client.Counter.labels)  # what the library keeps as well, but looks up in ten calls


class Gauge(prometheus_client.Gauge):
    labels = cache(prometheus_client.Gauge.labels)


class Histogram(prometheus_client.Histogram):
    labels = cache(prometheus_client.Histogram.labels)


REQUESTS = Counter("referral_http_requests", "Requests that were answered", ["method", "route", "status"], registry=OWN)
REQUEST_SECONDS = Histogram(
    "referral_http_request_duration_seconds",
    "Time from the first middleware to the answer",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=OWN,
)
IN_PROGRESS = Gauge(
    "referral_http_requests_in_progress", "Requests being worked on", multiprocess_mode="livesum", registry=OWN
)
QUERY_SECONDS = Histogram(
    "referral_database_query_duration_seconds",
    "Time of a query, without that of getting a connection",
    ["database"],
    buckets=(0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 30),
    registry=OWN,
)
DATABASE_ERRORS = Counter("referral_database_errors", "Queries that failed", ["database", "error"], registry=OWN)
POOL_CONNECTIONS = Gauge(
    "referral_database_pool_connections",
    "Connections of the pools, by whether a request has them",
    ["database", "state"],
    multiprocess_mode="livesum",
    registry=OWN,
)
POOL_WAITING = Gauge(
    "referral_database_pool_requests_waiting",
    "Requests that wait for a connection of the pools",
    ["database"],
    multiprocess_mode="livesum",
    registry=OWN,
)
LIMITED = Counter(
    "referral_limiter_uses", "What has a limit: was it within it or not", ["bucket", "outcome"], registry=OWN
)
LIMITER_UNAVAILABLE = Counter(
    "referral_limiter_unavailable", "Times that the store of the counters did not answer", registry=OWN
)
CODE_CACHE = Counter(
    "referral_code_cache", "Look-ups of codes in the cache, and times that it failed", ["outcome"], registry=OWN
)
ACCOUNT_EVENTS = Counter("referral_account_events", "Rows of the audit trail, by their kind", ["kind"], registry=OWN)
REPLICA_READS = Counter(
    "referral_replica_reads", "Reads that the replica may do: did it, or why not", ["outcome"], registry=OWN
)
REGISTRATIONS = Counter("referral_registrations", "Accounts that were opened", registry=OWN)
REFERRALS = Counter("referral_referrals", "Accounts that somebody brought in", registry=OWN)
CLICKS = Counter("referral_clicks", "Visits of share links, by what came of them", ["outcome"], registry=OWN)

Ask = Callable[[], Iterable[Metric]]
Failure = type[Exception] | tuple[type[Exception], ...]
_asked_when_read: list[tuple[str, Failure, Ask]] = []


def ask_when_read(part: str, failure: Failure, ask: Ask) -> None:
    """Have `ask` tell more metrics at each reading. While it raises `failure`, `part` is told to be down instead."""
    _asked_when_read.append((part, failure, ask))


class _AskedWhenRead:
    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("referral_up", "Whether a part that is asked at each reading answers", labels=["part"])
        for part, failure, ask in _asked_when_read:
            try:
                told = list(ask())
            except failure:
                told, answers = [], 0
            else:
                answers = 1
            yield from told
            up.add_metric([part], answers)
        yield up


def exposition() -> bytes:
    """All metrics in Prometheus' text format, those of all the processes of this server together."""
    registry = CollectorRegistry(auto_describe=False)
    if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        _forget_what_the_dead_had_in_progress(Path(folder))
        MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]  # of the library
    else:
        registry.register(OWN)
    registry.register(_AskedWhenRead())
    return generate_latest(registry)


def _forget_what_the_dead_had_in_progress(folder: Path) -> None:
    """A process that was killed has counted what it did, and has nothing in progress any more."""
    for file in folder.glob("gauge_live*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            with suppress(FileNotFoundError):  # another reader was a moment faster
                mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]  # of the library
