"""The names of the queues that there are in the server."""

from __future__ import annotations

from nodeflow.storage.connection import RedisConnection
from nodeflow.storage.keys import Keys


async def queue_names(connection: RedisConnection, keys: Keys) -> list[str]:
    """The names of the queues that hold anything: what waits, is delayed, leased or dead.

    Args:
        connection: the connection.
        keys: the names of the keys.
    """
    await connection.session()
    found: set[str] = set()
    for pattern, kind in keys.queue_patterns():
        cursor = -1
        while cursor:
            command = ("SCAN", max(cursor, 0), "MATCH", pattern, "COUNT", 1_000, "TYPE", kind)
            position, names = await connection.call(*command, operation="list the queues")
            cursor = int(position)
            for key in names:
                if name := keys.queue_name(key.decode(errors="surrogateescape"), kind):
                    found.add(name)
    return sorted(found)
