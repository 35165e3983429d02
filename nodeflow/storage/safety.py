"""Whether a server keeps what it is given: looked at before a graph is run in production."""

from __future__ import annotations

import logging

import redis

from nodeflow.errors import StorageError, UnsafeServerError
from nodeflow.storage.connection import RedisConnection

_log = logging.getLogger(__name__)
_warned: set[str] = set()


async def check_server(connection: RedisConnection) -> None:
    """Refuse a server that may throw queued data away; warn, once, of one that keeps nothing on disk.

    What the server's user may not ask isn't looked at.

    Raises:
        UnsafeServerError: its `maxmemory-policy` lets it evict keys, and the settings don't allow that.
    """
    policy = await _asked(connection, "maxmemory-policy")
    if policy not in (None, "noeviction") and not connection.settings.allow_eviction:
        raise UnsafeServerError(
            f"the server at {connection.address} throws data away when its memory is full: its maxmemory-policy is "
            f"{policy}. Set it to noeviction, or allow this with Settings(allow_eviction=True) or "
            "NODEFLOW_ALLOW_EVICTION=1"
        )
    keeps_nothing = await _asked(connection, "appendonly") == "no" and await _asked(connection, "save") == ""
    if keeps_nothing and connection.address not in _warned:
        _warned.add(connection.address)
        _log.warning(
            "the server at %s keeps nothing on disk (appendonly no, save ''): what it holds is gone when it stops",
            connection.address,
        )


async def _asked(connection: RedisConnection, setting: str) -> str | None:
    try:
        found = await connection.call("CONFIG", "GET", setting, operation=f"ask for {setting}")
    except StorageError as error:
        if isinstance(error.__cause__, redis.ResponseError):  # as where a provider doesn't let anybody ask
            return None
        raise
    return str(found[1].decode()) if found else None
