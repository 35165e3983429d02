"""CacheStore: values by key, for as long as they are wanted."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from nodeflow.storage.connection import RedisConnection
from nodeflow.storage.keys import Keys
from nodeflow.storage.payloads import Payloads


class CacheStore:
    """Values kept by key, with or without a time to live.

    Args:
        connection: the connection that all stores share.
        keys: the names of the keys.
        payloads: what makes stored payloads of values.
    """

    def __init__(self, connection: RedisConnection, keys: Keys, payloads: Payloads) -> None:
        self._connection = connection
        self._keys = keys
        self._payloads = payloads

    async def set(self, key: str, value: Any, ttl: float | timedelta | None = None) -> None:
        """Keep a value (SET; with a time to live SET … PX, which is what SETEX has become).

        Args:
            key: its name.
            value: whatever `nodeflow.values.encode` takes.
            ttl: seconds until it goes, at least a millisecond; None keeps it for ever.

        Raises:
            PayloadError: the value can't be held, with the path of the part; nothing was sent.
            ValueError: the time to live is not above 0.
        """
        name, milliseconds = self._keys.cache(key), _milliseconds(ttl)
        data = await self._payloads.pack(value, name)
        lifetime = () if milliseconds is None else ("PX", milliseconds)
        await self._connection.call("SET", name, data, *lifetime, operation=f"set {key!r}")

    async def get(self, key: str, default: Any = None) -> Any:
        """The value kept under a key, or `default` when there is none (GET)."""
        name = self._keys.cache(key)
        data = await self._connection.call("GET", name, operation=f"get {key!r}")
        return default if data is None else await self._payloads.unpack(data, name)

    async def delete(self, key: str) -> bool:
        """Remove a key; whether there was one (DEL)."""
        name = self._keys.cache(key)
        return bool(await self._connection.call("DEL", name, operation=f"delete {key!r}", is_repeatable=False))

    async def exists(self, key: str) -> bool:
        """Whether a value is kept under a key (EXISTS)."""
        name = self._keys.cache(key)
        return bool(await self._connection.call("EXISTS", name, operation=f"exists {key!r}"))

    async def ttl(self, key: str) -> float | None:
        """Seconds until a key goes; None when it stays for ever or isn't there (PTTL)."""
        name = self._keys.cache(key)
        milliseconds: int = await self._connection.call("PTTL", name, operation=f"ttl of {key!r}")
        return milliseconds / 1000 if milliseconds >= 0 else None


def _milliseconds(ttl: float | timedelta | None) -> int | None:
    if ttl is None:
        return None
    if isinstance(ttl, bool) or not isinstance(ttl, int | float | timedelta):
        raise TypeError(f"ttl must be seconds (int, float or timedelta), not {type(ttl).__name__}")
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    if not 0 < seconds < math.inf:
        raise ValueError(f"ttl must be more than 0 seconds, not {ttl!r}: use delete() to remove a key")
    return max(1, round(seconds * 1000))
