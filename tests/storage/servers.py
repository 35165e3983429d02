"""Servers of a test's own: a real Valkey with other settings, and one that isn't a Valkey at all."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from ssl import SSLContext

from nodeflow.storage.embedded import find_binary
from tests.support import eventually

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A Valkey on a unix socket, kept in memory only.

    Args:
        folder: where its socket lies.
        settings: its further settings, as on its command line.
        limit: how many bytes its files may have, as if the disk were so small; None for no limit.
    """

    def __init__(self, folder: Path, *settings: str, limit: int | None = None) -> None:
        self._folder, self._settings, self._limit = folder, settings, limit
        self.socket = folder / "valkey.sock"
        self.url = f"unix://{self.socket}"
        self.start()

    def start(self) -> None:
        """Start it, empty."""
        fixed = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--dir", str(self._folder)]
        command = [str(find_binary()), *fixed, *self._settings]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=self._obey_limit)
        eventually(self._answers, 10, "the test's own server answers")

    def kill(self) -> None:
        """End it without warning."""
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Stop it, so that it keeps its connections and doesn't answer."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def lift_limit(self) -> None:
        """Let files grow from now on."""
        self._limit = None
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def _obey_limit(self) -> None:
        if self._limit is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that a write fails, as on a full disk
            resource.setrlimit(resource.RLIMIT_FSIZE, (self._limit, resource.RLIM_INFINITY))

    def _answers(self) -> bool:
        assert self._process.poll() is None
        with socket.socket(socket.AF_UNIX) as line:
            if line.connect_ex(str(self.socket)):
                return False
            line.sendall(b"PING\r\n")
            return line.recv(100).startswith((b"+PONG", b"-NOAUTH"))


@contextmanager
def valkey(folder: Path, *settings: str) -> Iterator[Server]:
    """A Valkey of the test's own, for the length of the context."""
    server = Server(folder, *settings)
    try:
        yield server
    finally:
        server.kill()


@asynccontextmanager
async def played(handler: Handler, tls: SSLContext | None = None) -> AsyncIterator[int]:
    """A TCP server on this machine that does what the handler does; its port."""
    connections: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()


def relay_to(path: Path) -> Handler:
    """A handler that passes everything on to a unix socket and back."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, downstream = await asyncio.open_unix_connection(path)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_pump(reader, downstream))
                tasks.create_task(_pump(upstream, writer))
        finally:
            downstream.close()

    return handle


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
        await target.drain()
    target.close()


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port on which nobody listens, and nobody else can for the length of the context."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])
