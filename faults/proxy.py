"""A TCP proxy that does to connections what networks, firewalls and dying hosts do to them."""

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from enum import Enum
from threading import Thread
from typing import Any

Upstream = tuple[str, int] | str
"""Host and port, or the path of a Unix socket."""

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Fault(Enum):
    NONE = "what comes is passed on"
    DELAY = "it is passed on later"
    DROP = "it is swallowed, and nobody is told"
    RESET = "connections are reset, new ones at once"
    HALF_CLOSE = "both sides are told that the other one has no more to say; what it says is swallowed"


class Link:
    """A connection of a client and the one to the upstream that was made for it."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self.writers = writers
        self.is_broken = False

    def reset(self) -> None:
        for writer in self.writers:
            if writer.is_closing():
                continue
            sock = writer.get_extra_info("socket")
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            writer.transport.abort()

    def half_close(self) -> None:
        self.is_broken = True
        for writer in self.writers:
            if writer.can_write_eof() and not writer.is_closing():
                writer.write_eof()


class Proxy:
    """Listens on a port of its own; each new connection goes to the next upstream in turn that takes it.

    `upstreams` can be changed at any time, as a load balancer's list can. A fault lasts until `heal`.
    """

    def __init__(self, *upstreams: Upstream) -> None:
        self.upstreams = list(upstreams)
        self.fault = Fault.NONE
        self.seconds = 0.0
        self._links: set[Link] = set()
        self._turn = 0
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> "Proxy":
        self._thread.start()
        server = self._in_loop(asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512))
        self.port: int = server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *error: object) -> None:
        async def end() -> None:
            for link in self._links:
                link.reset()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self._in_loop(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def delay(self, seconds: float) -> None:
        self.seconds = seconds
        self._set(Fault.DELAY)

    def drop(self) -> None:
        self._set(Fault.DROP)

    def reset(self) -> None:
        self._set(Fault.RESET, Link.reset)

    def half_close(self) -> None:
        self._set(Fault.HALF_CLOSE, Link.half_close)

    def heal(self) -> None:
        """Pass on again. A connection of which bytes were swallowed is of no use any more, and is reset."""
        self._set(Fault.NONE, lambda link: link.is_broken and link.reset())

    def _set(self, fault: Fault, to_each: Callable[[Link], Any] = lambda link: None) -> None:
        async def change() -> None:
            self.fault = fault
            for link in list(self._links):
                to_each(link)

        self._in_loop(change())

    def _in_loop(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.fault is Fault.RESET or (upstream := await self._connect()) is None:
            Link(writer).reset()
            return
        up_reader, up_writer = upstream
        link = Link(writer, up_writer)
        self._links.add(link)
        if self.fault is Fault.HALF_CLOSE:
            link.half_close()
        try:
            await asyncio.gather(self._pump(reader, up_writer, link), self._pump(up_reader, writer, link))
        finally:
            self._links.discard(link)
            for end in link.writers:
                end.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        self._turn += 1
        start = self._turn % len(self.upstreams)
        for upstream in self.upstreams[start:] + self.upstreams[:start]:
            try:
                if isinstance(upstream, str):
                    return await asyncio.open_unix_connection(upstream)
                return await asyncio.open_connection(*upstream)
            except OSError:
                continue
        return None

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: Link) -> None:
        try:
            while data := await reader.read(65536):
                if self.fault in (Fault.DROP, Fault.HALF_CLOSE):
                    link.is_broken = True
                    continue
                if self.fault is Fault.DELAY:
                    await asyncio.sleep(self.seconds)
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof() and not writer.is_closing():
                writer.write_eof()
        except OSError:
            link.reset()
