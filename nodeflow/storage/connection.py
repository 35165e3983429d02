"""The one connection to the server: lazy, shared by all stores, its errors translated here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.resources import files
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import redis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript

from nodeflow.errors import (
    NodeflowError,
    StorageConnectionError,
    StorageError,
    StorageTimeoutError,
    StoreClosedError,
)
from nodeflow.settings import Settings
from nodeflow.storage.address import parse_url, shown_address
from nodeflow.storage.arguments import whole
from nodeflow.storage.pool import Pool

T = TypeVar("T")

BLOCK_SECONDS = 1.0
"""The longest that one command blocks in the server, in seconds; longer waits are made of several."""

_LEAST_BLOCK = 0.01
_CONNECT_SECONDS = 2.0
_ANSWER_SECONDS = 10.0
_LEAST_POOL = 4


class RedisConnection:
    """A server's address and, from the first use on, one client for all stores.

    Half of the connections are for commands that block in the server, so that those never keep the
    others waiting. redis-py's own retries are off: they would send an LPUSH whose reply was lost a
    second time.

    Args:
        settings: the server's URL, or the folder of the embedded server; the number of connections.

    Raises:
        ValueError: when the URL is wrong, or `pool_size` is below 4.
    """

    def __init__(self, settings: Settings) -> None:
        whole("pool_size", settings.pool_size, _LEAST_POOL)
        self.settings = settings
        self._options = None if settings.url is None else parse_url(settings.url)
        self._client: Redis | None = None
        self._blocking: Redis | None = None
        self._opening = anyio.Lock()
        self._failure: tuple[float, StorageError] | None = None
        self._slots = anyio.Semaphore(settings.pool_size // 2)
        self._scripts: dict[str, AsyncScript] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"RedisConnection({self.address})"

    @property
    def address(self) -> str:
        """Where the server is, without its password."""
        if self._options is None:
            return f"the embedded server in {self.settings.folder}"
        return shown_address(self._options)

    async def ensure_connection(self) -> Redis:
        """The client of redis-py, connected on the first call, the same one for all callers.

        Raises:
            StorageConnectionError: no server answers, or it refuses us.
            EmbeddedServerError: the embedded server can't be started.
            StoreClosedError: after `close()`.
        """
        if self._client is None and not self._closed:
            asked = anyio.current_time()
            async with self._opening:
                if self._client is None and not self._closed:
                    await self._open(asked)
        if self._closed:
            raise StoreClosedError
        assert self._client is not None
        return self._client

    async def block(self, command: Callable[[Redis, float], Awaitable[T]], deadline: float) -> T | None:
        """Run a command that blocks in the server, when its turn has come.

        Args:
            command: gets a client and for how many seconds it may block, at most `BLOCK_SECONDS`.
            deadline: until when to wait, on the clock of `anyio.current_time`.

        Returns:
            What the command gave; None also when its turn didn't come in time.
        """
        await self.ensure_connection()
        has_slot = False
        with anyio.CancelScope(deadline=deadline):
            await self._slots.acquire()
            has_slot = True
        if not has_slot:
            return None
        try:
            await self.ensure_connection()  # it may have been closed meanwhile
            assert self._blocking is not None
            return await command(self._blocking, max(_LEAST_BLOCK, min(BLOCK_SECONDS, deadline - anyio.current_time())))
        finally:
            self._slots.release()

    @contextmanager
    def errors(self, operation: str) -> Iterator[None]:
        """Turn what redis-py raises within into errors of nodeflow.

        Args:
            operation: what is being done, for the message, as in `push to 'jobs'`.
        """
        try:
            yield
        except NodeflowError:
            raise
        except Exception as error:
            if self._closed:  # under way, redis-py stumbles over whatever is gone
                raise StoreClosedError from error
            if isinstance(error, redis.RedisError | OSError):
                raise self._translated(error, operation) from error
            raise

    async def run_script(self, name: str, keys: Sequence[str], arguments: Sequence[Any], operation: str) -> Any:
        """Run the script `{name}.lua` of this package in the server.

        Args:
            name: the file's name.
            keys: its KEYS.
            arguments: its ARGV.
            operation: what is being done, for the message of an error.
        """
        client = await self.ensure_connection()
        if name not in self._scripts:
            self._scripts[name] = client.register_script(files(__package__).joinpath(f"{name}.lua").read_text())
        with self.errors(operation):
            return await self._scripts[name](keys=list(keys), args=list(arguments))

    async def close(self) -> None:
        """Close all connections; calls that wait raise `StoreClosedError`. A second call does nothing."""
        self._closed = True
        with anyio.CancelScope(shield=True):
            async with self._opening:
                clients = [client for client in (self._client, self._blocking) if client is not None]
                self._client = self._blocking = None
                for client in clients:
                    await client.aclose()

    async def _open(self, asked: float) -> None:
        """Connect, unless it failed since the caller asked: then nobody waits for a second failure."""
        if self._failure is not None and self._failure[0] > asked:
            failure = self._failure[1]
            raise type(failure)(*failure.args) from failure
        try:
            await self._connect()
        except StorageError as error:
            self._failure = anyio.current_time(), error
            raise

    async def _connect(self) -> None:
        if self._options is not None:
            return await self._connect_to(self._options)
        try:
            await self._connect_to(await self._start_embedded())
        except StorageConnectionError:  # it stopped for want of a client in the moment between
            await self._connect_to(await self._start_embedded())

    async def _connect_to(self, options: dict[str, Any]) -> None:
        blocked = self.settings.pool_size // 2
        client = _client(options, self.settings.pool_size - blocked, _ANSWER_SECONDS)
        try:
            with self.errors("connect"), anyio.fail_after(_CONNECT_SECONDS):
                await client.ping()
        except StorageTimeoutError as error:
            await client.aclose()
            raise StorageConnectionError(self.address, "it doesn't answer") from error
        except BaseException:
            await client.aclose()
            raise
        self._blocking = _client(options, blocked, BLOCK_SECONDS + _ANSWER_SECONDS)
        self._client = client

    async def _start_embedded(self) -> dict[str, Any]:
        from nodeflow.storage import embedded

        socket = await anyio.to_thread.run_sync(
            embedded.start, self.settings.folder, self.settings.server_idle, abandon_on_cancel=True
        )
        return parse_url(f"unix://{socket}")

    def _translated(self, error: Exception, operation: str) -> StorageError:
        if isinstance(error, redis.TimeoutError | TimeoutError) and "connecting" not in str(error):
            return StorageTimeoutError(operation, self.address)
        if isinstance(error, redis.TimeoutError | redis.ConnectionError | redis.InvalidResponse | OSError):
            return StorageConnectionError(self.address, str(error).rstrip(".") or type(error).__name__)
        return StorageError(f"{operation}: {error}")


def _client(options: dict[str, Any], connections: int, answer_seconds: float) -> Redis:
    pool = Pool(
        **options,
        max_connections=connections,
        timeout=None,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=answer_seconds,
        socket_connect_timeout=_CONNECT_SECONDS,
    )
    return Redis.from_pool(pool)


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Await work that must not be left half-done: when the caller is cancelled it still ends first.

    Args:
        work: a command to the server, whose time-outs bound it.

    Raises:
        asyncio.CancelledError: after the work has ended, when the caller was cancelled meanwhile.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():  # however often the caller is cancelled
            with suppress(asyncio.CancelledError), anyio.CancelScope(shield=True):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio doesn't complain; the cancellation goes first
        raise
