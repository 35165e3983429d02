"""The sum that holds after every fault: what was pushed is handled or is still somewhere."""

from __future__ import annotations

from nodeflow.storage import DataStore, Tally


async def balanced(store: DataStore, name: str, pushed: int | None = None) -> Tally:
    """The tally of a queue, which must add up.

    Args:
        store: where it lies.
        name: the queue.
        pushed: how many pushes were confirmed; None where that isn't known.
    """
    tally = await store.queue.tally(name)
    parts = tally.waiting + tally.delayed + tally.leased + tally.dead + tally.discarded + tally.done
    assert parts == tally.pushed, tally
    assert pushed is None or tally.pushed == pushed, tally
    return tally


async def all_values(store: DataStore, name: str) -> list[object]:
    """All that waits, taken out."""
    found: list[object] = []
    while True:
        async with store.queue.lease(name, 10_000, timeout=0) as lease:
            if not lease:
                return found
            found += [item.value for item in lease]
