"""What came of it: tables in Markdown, ratios first, and all rounds as JSON, in `build/bench/`."""

import json
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from bench.driving import CONNECTIONS, REFERRALS, REPEATS, ROUNDS, SECONDS, USERS, Result, hashes_per_second, ratio
from config.tests.live import ROOT

FOLDER = ROOT / "build" / "bench"


def save(name: str, text: str, data: Any) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    about = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "setting": setting()}
    (FOLDER / f"{name}.md").write_text(text + "\n", "utf-8")
    (FOLDER / f"{name}.json").write_text(json.dumps(about | {"results": data}, indent=1), "utf-8")
    print(text)
    print(f"\n{(FOLDER / name).relative_to(Path.cwd())}.md and .json")


def setting() -> str:
    """In what the figures were got."""
    gigabytes = psutil.virtual_memory().total / 1e9
    return (
        f"{psutil.cpu_count()} processors, {gigabytes:.0f} GB, Python {platform.python_version()}; "
        f"{USERS:,} people with a code, {REFERRALS:,} referrals; {ROUNDS} rounds of {SECONDS} s, "
        f"{CONNECTIONS} connections"
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def spread(values: Sequence[float], digits: int = 0) -> str:
    """The median, and the least and the most behind it."""
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def figure(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def note_of(result: Result) -> str:
    """Why one should look twice at a row."""
    bad = [
        (sum(each.refused for each in rounds), sum(each.lost for each in rounds)) for rounds in result.rounds.values()
    ]
    notes = []
    if not result.is_valid:
        notes.append("**invalid**: " + ", ".join(f"{refused} refused, {lost} lost" for refused, lost in bad))
    if result.disturbed:
        rounds = sum(map(len, result.rounds.values()))
        notes.append(f"disturbed in {result.disturbed} of {rounds} rounds, after {REPEATS} repeats at most")
    return "; ".join(notes)


def title_of(result: Result) -> str:
    return f"({result.call.letter}) {result.call.title}"


def comparison(results: Sequence[Result]) -> str:
    """Rates and waiting times, then what a request costs; the first of each pair of figures is the service's."""
    heads = ["call", "rate, service / reference", "p99, service / reference", "service, requests/s"]
    heads += ["reference, requests/s", "p50, ms", "p99, ms", "note"]
    rates = [[title_of(result), *_rates(result), note_of(result)] for result in results]
    costs = [
        "call",
        "reference / service, in processor time",
        "web, ms of a processor",
        "PostgreSQL, ms",
        "SQL statements",
        "memory of the workers, MB",
    ]
    spent = [[title_of(result), *_costs(result)] for result in results]
    return f"{setting()}.\n\n{table(heads, rates)}\n\nWhat one request costs:\n\n{table(costs, spent)}"


def within(results: Sequence[Result]) -> list[str]:
    """What the service's rates are to each other, and to what hashing passwords leaves them."""
    rates = {result.call: result.median("service", "rate") or 0 for result in results}
    pages = [rate for call, rate in rates.items() if call.letter == "b"]
    hashing = {call: rate for call, rate in rates.items() if call.letter in "de"}
    lines = [f"Deep page / first page: {ratio(pages[1], pages[0]):.2f}."] if pages else []
    if hashing:
        hashes = hashes_per_second()
        parts = ", ".join(f"({call.letter}) {ratio(rate, hashes):.2f}" for call, rate in hashing.items())
        lines.append(f"Service / argon2id alone, of which {hashes:.1f} a second: {parts}.")
    return lines


def _rates(result: Result) -> list[str]:
    rates = [spread([each.rate for each in rounds]) for rounds in result.rounds.values()]
    waits = {what: [result.median(server, what) or 0 for server in result.rounds] for what in ("p50", "p99")}
    pairs = [" / ".join(figure(value) for value in values) for values in waits.values()]
    if len(rates) == 1:
        return ["–", "–", rates[0], "–", *pairs]
    ours, theirs = waits["p99"]
    return [spread(result.ratios, 2), figure(ratio(ours, theirs), 2), *rates, *pairs]


def _costs(result: Result) -> list[str]:
    spent = [
        (result.median(server, "web_cpu") or 0) + (result.median(server, "database_cpu") or 0)
        for server in result.rounds
    ]
    digits = {"web_cpu": 2, "database_cpu": 2, "statements": 1, "memory": 0}
    columns = [
        " / ".join(figure(result.median(server, what), places) for server in result.rounds)
        for what, places in digits.items()
    ]
    return [figure(ratio(spent[1], spent[0]), 2) if len(spent) == 2 else "–", *columns]
