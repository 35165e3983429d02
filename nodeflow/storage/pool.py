"""A pool of connections that stays closed once it was closed, and whose connections know their number."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Self, cast

import redis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

CONNECT_SECONDS = 2.0
"""How long connecting may take."""


class Pool(BlockingConnectionPool):
    """redis-py's pool, whose closed connections don't come back.

    redis-py's own connects again for whoever still waits for a connection when it is closed, and that
    connection nobody closes.
    """

    _is_closed = False
    _waiting = 0

    @classmethod
    def of(cls, options: dict[str, Any], connections: int) -> Self:
        """A pool for the server of these options.

        Its connections have no time-out of redis-py's, which would send within `asyncio.wait_for`: on Python 3.11
        that swallows a cancellation which comes at the moment when the sending ends.

        Args:
            options: what redis-py needs to connect.
            connections: how many at most.
        """
        return cls(
            **options,
            max_connections=connections,
            timeout=None,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            socket_connect_timeout=CONNECT_SECONDS,
            redis_connect_func=_introduce,
        )

    async def acquired(self) -> Any:
        """A connection, waited for; to be given to `done_with`.

        One that is free and seems to be connected is taken without redis-py's closer look, which takes as long as
        a command. When it was closed a moment ago, the command fails as it would a moment later.
        """
        if self._available_connections and not self._is_closed:
            connection: Any = self._available_connections[-1]
            if connection.is_connected and not connection._reader.at_eof():
                self._in_use_connections.add(self._available_connections.pop())
                return connection
        return await self.get_connection()

    async def get_connection(self, *_: Any, **__: Any) -> Any:
        """As redis-py's; counts those who wait."""
        self._waiting += 1
        try:
            return await super().get_connection()  # type: ignore[no-untyped-call] # it has none
        finally:
            self._waiting -= 1

    async def done_with(self, connection: Any) -> None:
        """Give a connection back."""
        if self._waiting or connection.should_reconnect():
            await self.release(connection)
        else:
            self._in_use_connections.remove(connection)
            self._available_connections.append(connection)

    def in_use(self) -> list[Any]:
        """The connections that are at work."""
        return list(self._in_use_connections)

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """Connect, unless the pool was closed before or meanwhile."""
        if not self._is_closed:
            async with asyncio.timeout(CONNECT_SECONDS):
                await super().ensure_connection(connection)
        if self._is_closed:
            await connection.disconnect()
            raise redis.ConnectionError("the pool is closed")

    async def aclose(self) -> None:
        """Disconnect all connections for good."""
        self._is_closed = True
        await super().aclose()


def pool_of(client: Redis | None) -> Pool:
    """The pool of one of our clients."""
    if client is None:
        raise redis.ConnectionError("the store is closed")
    return cast("Pool", client.connection_pool)


def drop(client: Redis, *, is_ours: bool) -> None:
    """Close a client's sockets without waiting, in whatever state their event loop is.

    Args:
        client: one of ours.
        is_ours: False in a forked child: then the event loop is the parent's, which must not notice.
    """
    pool = pool_of(client)
    for connection in [*pool._available_connections, *pool._in_use_connections]:
        writer, connection._writer, connection._reader = connection._writer, None, None
        if writer is not None:
            with suppress(Exception):
                _drop_transport(writer, is_ours=is_ours)


def _drop_transport(writer: asyncio.StreamWriter, *, is_ours: bool) -> None:
    outer: Any = writer.transport
    transport = getattr(getattr(outer, "_ssl_protocol", None), "_transport", outer)
    if is_ours and not transport._loop.is_closed():
        transport._loop.call_soon_threadsafe(lambda: writer.transport.abort())  # the writer must live until then
        return
    transport._closing = True
    socket, transport._sock = transport._sock, None
    socket.close()


async def _introduce(connection: Any) -> None:
    """Greet the server and ask it for the connection's number, by which what blocks there can be ended."""
    connection.client_id = None
    await connection.on_connect()
    with suppress(redis.ResponseError):
        await connection.send_command("CLIENT", "ID", check_health=False)
        connection.client_id = await connection.read_response()
