"""A link to a server: the clients of redis-py for commands and for what blocks, and plain exchanges over them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

import anyio
import hiredis
import redis
from attrs import frozen
from redis.asyncio import Redis

from nodeflow.storage.failures import NotSent, is_passing, is_refusal
from nodeflow.storage.pool import CONNECT_SECONDS, Pool, drop, pool_of

BLOCK_SECONDS = 1.0
"""The longest that one command blocks in the server, in seconds; longer waits are made of several."""

_ANSWER_SECONDS = 10.0


@frozen(eq=False)
class Link:
    """The connections of one process to one server.

    Args:
        options: what redis-py needed to connect.
        client: for commands.
        blocking: for commands that block in the server.
        has_flags: whether the server reads a script's flags, as from Redis 7.0 on.
    """

    options: dict[str, Any]
    client: Redis
    blocking: Redis
    has_flags: bool

    @classmethod
    async def to(cls, options: dict[str, Any], commands: int, blocking: int) -> Self:
        """Connect.

        Args:
            options: what redis-py needs to connect.
            commands: how many connections for commands at most.
            blocking: how many for commands that block.

        Raises:
            redis.RedisError: or OSError or TimeoutError, when it doesn't answer or refuses us.
        """
        client = Redis.from_pool(Pool.of(options, commands))
        try:
            with anyio.fail_after(CONNECT_SECONDS):
                await _greet(client)
                facts = await _facts(client)
        except BaseException:
            await client.aclose()
            raise
        has_flags = int(str(facts.get("redis_version", "7")).partition(".")[0]) >= 7
        return cls(options, client, Redis.from_pool(Pool.of(options, blocking)), has_flags)

    async def exchange(self, packed: bytes, *, blocks: bool = False, replies: int = 1) -> Any:
        """Send packed commands over a connection that is free, and read the replies.

        Args:
            packed: the commands.
            blocks: whether one of them blocks in the server.
            replies: how many commands these are; of more than one, a list: errors of the server stand among it.

        Raises:
            NotSent: there was no connection to be had.
        """
        pool = pool_of(self.blocking if blocks else self.client)
        try:
            connection: Any = await pool.acquired()
        except Exception as error:
            raise NotSent from error
        try:
            async with asyncio.timeout(_ANSWER_SECONDS + (BLOCK_SECONDS if blocks else 0)):
                await connection.send_packed_command(packed, check_health=False)
                if replies == 1:
                    return await connection.read_response()
                return [await _reply(connection) for _ in range(replies)]
        finally:
            await pool.done_with(connection)

    async def unblock(self) -> None:
        """Let the commands that block in the server end now, so that what they may have taken can be put back."""
        for connection in pool_of(self.blocking).in_use():
            number = getattr(connection, "client_id", None)  # there is none while it connects
            if number is not None:
                with suppress(Exception):
                    await self.exchange(pack(("CLIENT", "UNBLOCK", number)))

    async def close(self) -> None:
        """Close all connections."""
        await self.blocking.aclose()
        await self.client.aclose()

    def drop(self, *, is_ours: bool = True) -> None:
        """Close all connections without waiting; `is_ours` is False in a forked child."""
        drop(self.blocking, is_ours=is_ours)
        drop(self.client, is_ours=is_ours)


def pack(command: Sequence[Any]) -> bytes:
    """A command as the server reads it."""
    packed: bytes = hiredis.pack_command(tuple(command))
    return packed


async def _reply(connection: Any) -> Any:
    """A reply, be it an error: those behind it must be read too, else the connection's next user would read them."""
    try:
        return await connection.read_response()
    except redis.ResponseError as error:
        return error


async def _greet(client: Redis) -> None:
    try:
        await client.ping()
    except redis.RedisError as error:  # one that loads or has a full disk is there, and calls wait for it
        if not (is_refusal(error) and is_passing(error)):
            raise


async def _facts(client: Redis) -> dict[str, Any]:
    try:
        facts: Any = await client.info("server")
    except redis.ResponseError:  # a user who may not ask
        return {}
    return dict(facts)
