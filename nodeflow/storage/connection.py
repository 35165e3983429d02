"""The one connection to the server: lazy, shared by all stores, its errors translated here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from importlib.resources import files
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import redis
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript

from nodeflow.errors import (
    StorageConnectionError,
    StorageError,
    StorageTimeoutError,
    StoreClosedError,
)
from nodeflow.settings import Settings
from nodeflow.storage.address import parse_url, shown_address

T = TypeVar("T")

BLOCK_SECONDS = 1.0
"""The longest that one command blocks in the server, in seconds; longer waits are made of several."""

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
        if settings.pool_size < _LEAST_POOL:
            raise ValueError(f"pool_size must be at least {_LEAST_POOL}, not {settings.pool_size}")
        self.settings = settings
        self._options = None if settings.url is None else parse_url(settings.url)
        self._client: Redis | None = None
        self._blocking: Redis | None = None
        self._opening = anyio.Lock()
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
        if self._closed:
            raise StoreClosedError
        if self._client is None:
            async with self._opening:
                if self._client is None:
                    await self._connect()
        assert self._client is not None
        return self._client

    @asynccontextmanager
    async def blocking(self) -> AsyncIterator[Redis]:
        """A client for one command that blocks for at most `BLOCK_SECONDS`; waits for its turn."""
        await self.ensure_connection()
        assert self._blocking is not None
        async with self._slots:
            yield self._blocking

    @contextmanager
    def errors(self, operation: str) -> Iterator[None]:
        """Turn what redis-py raises within into errors of nodeflow.

        Args:
            operation: what is being done, for the message, as in `push to 'jobs'`.
        """
        try:
            yield
        except (redis.TimeoutError, TimeoutError) as error:
            if "connecting" in str(error):
                raise StorageConnectionError(self.address, str(error)) from error
            raise StorageTimeoutError(operation, self.address) from error
        except (redis.ConnectionError, OSError) as error:
            raise StorageConnectionError(self.address, str(error) or type(error).__name__) from error
        except redis.RedisError as error:
            raise StorageError(f"{operation}: {error}") from error

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
        """Close all connections; a second call does nothing."""
        self._closed = True
        clients = [client for client in (self._client, self._blocking) if client is not None]
        self._client = self._blocking = None
        with anyio.CancelScope(shield=True):
            for client in clients:
                await client.aclose()

    async def _connect(self) -> None:
        options = self._options or await self._start_embedded()
        blocked = self.settings.pool_size // 2
        client = Redis.from_pool(
            BlockingConnectionPool(
                **_tuned(options, _ANSWER_SECONDS),
                max_connections=self.settings.pool_size - blocked,
                timeout=None,
            )
        )
        try:
            with self.errors("connect"):
                await client.ping()
        except StorageTimeoutError as error:
            await client.aclose()
            raise StorageConnectionError(self.address, "it doesn't answer") from error
        except BaseException:
            await client.aclose()
            raise
        self._blocking = Redis.from_pool(
            ConnectionPool(**_tuned(options, BLOCK_SECONDS + _ANSWER_SECONDS), max_connections=blocked)
        )
        self._client = client

    async def _start_embedded(self) -> dict[str, Any]:
        from nodeflow.storage import embedded

        socket = await anyio.to_thread.run_sync(
            embedded.start, self.settings.folder, self.settings.server_idle, abandon_on_cancel=True
        )
        return parse_url(f"unix://{socket}")


def _tuned(options: dict[str, Any], answer_seconds: float) -> dict[str, Any]:
    return {
        **options,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": answer_seconds,
        "socket_connect_timeout": _CONNECT_SECONDS,
    }


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
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio doesn't complain; the cancellation goes first
        raise
