"""A TCP proxy in front of a server that cuts, delays, swallows, and loses replies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path


class Proxy:
    """Passes everything on to a unix socket, as long as it isn't told otherwise.

    Args:
        upstream: the server's socket.
    """

    def __init__(self, upstream: Path) -> None:
        self._upstream = upstream
        self._links: set[asyncio.Task[None]] = set()
        self.port = 0
        self.delay = 0.0
        """Seconds by which each piece is held up in either direction."""
        self.swallows = False
        """Whether pieces go nowhere, while connections stay open."""
        self.cuts_replies_to: bytes | None = None
        """When a request holds this, it is passed on, and its connection is cut before the reply; once."""
        self.lost_replies = 0
        self.holds_back: bytes | None = None
        """When a request holds this, it is kept for `deliver_late`, and its connection is cut; once."""
        self._late = b""

    @property
    def url(self) -> str:
        """Its address for a store."""
        return f"redis://127.0.0.1:{self.port}/0"

    def cut(self) -> None:
        """Cut all connections now."""
        for link in self._links:
            link.cancel()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        try:
            server_reader, server_writer = await asyncio.open_unix_connection(self._upstream)
            try:
                async with asyncio.TaskGroup() as tasks:
                    is_deaf = asyncio.Event()
                    requests = tasks.create_task(self._pass_requests(reader, server_writer, is_deaf))
                    replies = tasks.create_task(self._pass_replies(server_reader, writer, is_deaf))
                    requests.add_done_callback(lambda _: replies.cancel())
            finally:
                server_writer.close()
        except (asyncio.CancelledError, OSError, ExceptionGroup):
            pass
        finally:
            self._links.discard(link)
            with suppress(OSError):
                writer.transport.abort()

    async def _pass_requests(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, is_deaf: asyncio.Event
    ) -> None:
        while data := await source.read(1 << 16):
            if self.cuts_replies_to is not None and self.cuts_replies_to in data:
                self.cuts_replies_to = None
                is_deaf.set()
                await self._lose_reply(data, target)
                return
            if self.holds_back is not None and self.holds_back in data:
                self.holds_back, self._late = None, data
                return
            await self._forward(data, target)

    async def deliver_late(self) -> None:
        """Pass on what was held back, and wait until the server has dealt with it."""
        assert self._late, "nothing was held back"
        reader, writer = await asyncio.open_unix_connection(self._upstream)
        try:
            writer.write(self._late)
            await reader.read(1)
        finally:
            writer.close()

    async def _lose_reply(self, data: bytes, target: asyncio.StreamWriter) -> None:
        """Pass a request on and wait until the server has carried it out, over a connection that sees that."""
        reader, writer = await asyncio.open_unix_connection(self._upstream)
        try:
            calls = await _calls(reader, writer)
            target.write(data)
            await target.drain()
            while await _calls(reader, writer) == calls:
                pass
            self.lost_replies += 1
        finally:
            writer.close()

    async def _pass_replies(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, is_deaf: asyncio.Event
    ) -> None:
        while (data := await source.read(1 << 16)) and not is_deaf.is_set():
            await self._forward(data, target)

    async def _forward(self, data: bytes, target: asyncio.StreamWriter) -> None:
        if self.delay:
            await asyncio.sleep(self.delay)
        if not self.swallows:
            target.write(data)
            await target.drain()


async def _calls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """How many scripts the server has run, as it says."""
    writer.write(b"INFO commandstats\r\n")
    head = await reader.readline()
    body = await reader.readexactly(int(head[1:]) + 2)
    return b"".join(line for line in body.splitlines() if line.startswith((b"cmdstat_evalsha", b"cmdstat_eval:")))


@asynccontextmanager
async def proxied(upstream: Path) -> AsyncIterator[Proxy]:
    """A proxy for the length of the context."""
    proxy = Proxy(upstream)
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        await server.wait_closed()
