"""Leasing, giving back in both ways, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from nodeflow.storage import DataStore, Item


async def give_back(store: DataStore, name: str, max_items: int, consumer: str | None = None) -> list[Item]:
    """Lease items, give them back without blame, and return what was leased."""
    async with store.queue.lease(name, max_items, timeout=0, consumer=consumer) as lease:
        await lease.give_back()
    return list(lease)


async def fail_on(store: DataStore, name: str, max_items: int, why: str = "") -> list[Item]:
    """Lease items, raise, so that they come back suspect, and return what was leased."""
    with pytest.raises(ZeroDivisionError):
        async with store.queue.lease(name, max_items, timeout=0) as lease:
            raise ZeroDivisionError(why)
    return list(lease)


async def drained(store: DataStore, name: str) -> list[Item]:
    """What one large lease takes of all that waits, acknowledged: no more than one item if that is suspect."""
    async with store.queue.lease(name, 10_000, timeout=0) as lease:
        return list(lease)


async def one_by_one(store: DataStore, name: str, count: int) -> list[Item]:
    """So many items, acknowledged, each of which must be the only one of a large lease."""
    leases = [await drained(store, name) for _ in range(count)]
    assert [len(lease) for lease in leases] == [1] * count
    return [item for lease in leases for item in lease]


def values(items: Iterable[Item]) -> list[Any]:
    return [item.value for item in items]


def attempts(items: Iterable[Item]) -> list[int]:
    return [item.attempt for item in items]
