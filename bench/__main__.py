"""Measures the service: `python -m bench [compare|growth|popular|sqlite|waterfall|endurance]`.

`docs/performance.md` explains it.

Sizes come from the environment: BENCH_USERS (with a code), BENCH_REFERRALS, BENCH_ROUNDS, BENCH_SECONDS,
BENCH_CONNECTIONS, BENCH_CALLS (letters, like `ace`), BENCH_SIZES (numbers of referrals, for `growth`), BENCH_REQUESTS
(how many, for `endurance`), and BENCH_DATABASE_URL, the PostgreSQL to use, which is otherwise started for it.
"""

import os
import shutil
import sys

from bench import driving, report
from bench.calls import CALLS, Call, register, register_with_one_code
from bench.driving import CONNECTIONS, REFERRALS, SECONDS, USERS, Result, number
from bench.stand import postgres, stand

CHOSEN = os.environ.get("BENCH_CALLS", "abcdefghi")
SIZES = [int(size) for size in os.environ.get("BENCH_SIZES", "10000,1000000,10000000").split(",")]
MANY_AT_ONCE = 64
REQUESTS = number("BENCH_REQUESTS", 200_000)


def chosen(letters: str) -> list[Call]:
    return [call for call in CALLS if call.letter in letters and call.letter in CHOSEN]


def compare() -> None:
    """The service and the reference, all calls."""
    with postgres(), stand(USERS, REFERRALS) as both:
        results = [driving.compare(both, call) for call in chosen("abcdefghi")]
    lines = [report.comparison(results), *report.within(results)]
    report.save("compare", "\n\n".join(lines), [result.as_json() for result in results])


def growth() -> None:
    """The rates of the service, by how much there is."""
    by_size: dict[int, list[Result]] = {}
    calls = chosen("abcdefgh")
    with postgres():
        for size in SIZES:
            with stand(max(500, size // 10), size, reference=False) as service:
                by_size[size] = [driving.compare(service, call) for call in calls]
    rows = []
    for results in zip(*by_size.values(), strict=True):
        rates = [result.median("service", "rate") or 0 for result in results]
        kept = [f"{rate:,.0f} ({driving.ratio(rate, rates[0]):.2f})" for rate in rates]
        notes = [note for note in map(report.note_of, results) if note]
        rows.append([report.title_of(results[0]), *kept, "; ".join(notes)])
    heads = ["call", *(f"{size:,} referrals" for size in SIZES), "note"]
    data = {size: [result.as_json() for result in results] for size, results in by_size.items()}
    text = f"Requests per second, and their ratio to the first size. {report.setting()}."
    report.save("growth", f"{text}\n\n{report.table(heads, rows)}", data)


def popular() -> None:
    """Many people at once register with one code, or with many."""
    one = Call("e", "register with one popular code", register_with_one_code)
    many = Call("e", "register with many codes", register)
    with postgres(), stand(USERS, REFERRALS, reference=False) as service:
        sides = {"one code": (service.server, one), "many codes": (service.server, many)}
        result = driving.alternate(service, sides, MANY_AT_ONCE)
    rates = [report.spread([each.rate for each in rounds], 1) for rounds in result.rounds.values()]
    heads = ["one code / many codes", "one code, requests/s", "many codes, requests/s", "note"]
    row = [report.spread(result.ratios, 2), *rates, report.note_of(result)]
    text = f"(e) with {MANY_AT_ONCE} connections. {report.setting()}."
    report.save("popular", f"{text}\n\n{report.table(heads, [row])}", result.as_json())


def sqlite() -> None:
    """The service as it is without PostgreSQL and Redis."""
    os.environ.pop("DATABASE_URL", None)
    with stand(USERS, REFERRALS, reference=False) as service:
        results = [driving.compare(service, call) for call in chosen("ace")]
    report.save("sqlite", report.comparison(results), [result.as_json() for result in results])


def endurance() -> None:
    """The memory of the service's workers while they answer very many requests, of all kinds in turn."""
    answered, rows, calls = 0.0, [], chosen("acdegh")
    with postgres(), stand(USERS, REFERRALS, reference=False) as service:
        while answered < REQUESTS:
            for call in calls:
                done = driving.measure(service, service.server, call, CONNECTIONS, SECONDS)
                answered += done.rate * SECONDS
            rows.append([f"{answered:,.0f}", f"{done.memory:.0f}"])
            print(f"{answered:.0f} requests: {done.memory:.0f} MB", file=sys.stderr, flush=True)
    letters = ", ".join(f"({call.letter})" for call in calls)
    text = f"After so many requests of {letters} in turn. {report.setting()}."
    report.save("endurance", f"{text}\n\n{report.table(['requests', 'memory of the workers, MB'], rows)}", rows)


def waterfall() -> None:
    from bench.waterfall import measure

    measure()


def main() -> None:
    modes = {mode.__name__: mode for mode in (compare, growth, popular, sqlite, waterfall, endurance)}
    asked = sys.argv[1] if len(sys.argv) > 1 else "compare"
    if asked not in modes or len(sys.argv) > 2:
        raise SystemExit(f"python -m bench [{'|'.join(modes)}]")
    if not shutil.which("wrk"):
        raise SystemExit("wrk is needed: a package of that name in Debian and others")
    modes[asked]()


if __name__ == "__main__":
    main()
