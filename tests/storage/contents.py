"""What lies in the server below a store's prefix."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from nodeflow.storage import DataStore


async def contents(store: DataStore, client: Redis) -> dict[bytes, Any]:
    """Everything below the store's prefix, bookkeeping included; lists in their order."""
    found: dict[bytes, Any] = {}
    async for key in client.scan_iter(f"*{store.prefix}*"):
        kind = await client.type(key)
        if kind == b"list":
            found[key] = await client.lrange(key, 0, -1)
        elif kind == b"hash":
            found[key] = await client.hgetall(key)
        elif kind == b"zset":
            found[key] = await client.zrange(key, 0, -1, withscores=True)
        else:
            found[key] = await client.get(key)
    return found


async def lasting(store: DataStore, client: Redis) -> dict[bytes, Any]:
    """What lies there without a time to live; bookkeeping has one and goes by itself."""
    return {key: value for key, value in (await contents(store, client)).items() if await client.ttl(key) == -1}
