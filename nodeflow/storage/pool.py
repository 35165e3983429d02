"""A pool of connections that stays closed once it was closed."""

from __future__ import annotations

import redis
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import AbstractConnection


class Pool(BlockingConnectionPool):
    """redis-py's pool, whose closed connections don't come back.

    redis-py's own connects again for whoever still waits for a connection when it is closed, and that
    connection nobody closes.
    """

    _is_closed = False

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """Connect, unless the pool was closed before or meanwhile."""
        if not self._is_closed:
            await super().ensure_connection(connection)
        if self._is_closed:
            await connection.disconnect()
            raise redis.ConnectionError("the pool is closed")

    async def aclose(self) -> None:
        """Disconnect all connections for good."""
        self._is_closed = True
        await super().aclose()
