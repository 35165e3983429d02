"""A stream: the items of a queue one by one, until its writers are done and nothing is left."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing

import anyio

from nodeflow.storage.lease import Item, Lease
from nodeflow.storage.writers import Writers

_LOOK_SECONDS = 0.2
"""How often a stream with nothing to give looks for the end of its queue."""

_ACK_SECONDS = 1.0
"""For how long items that were handled may wait for their acknowledgement."""


async def stream_of(
    lease: Callable[[float], AbstractAsyncContextManager[Lease]], writers: Writers
) -> AsyncGenerator[Item, None]:
    """The items, each acknowledged once the next one is asked for, together with some of its neighbours.

    Args:
        lease: leases items, waiting for so many seconds.
        writers: the queue's writers.
    """
    while True:
        async with lease(_LOOK_SECONDS) as leased, aclosing(_each_of(leased)) as items:
            async for item in items:
                yield item
        if not leased and await writers.is_finished():
            return


async def _each_of(lease: Lease) -> AsyncGenerator[Item, None]:
    handled: list[Item] = []
    last = anyio.current_time()
    try:
        for item in lease:
            yield item
            handled.append(item)
            if anyio.current_time() - last > _ACK_SECONDS and len(handled) < len(lease.held):
                await lease.commit(items=handled)
                handled, last = [], anyio.current_time()
    finally:
        if handled and len(handled) < len(lease.held):
            with anyio.CancelScope(shield=True):
                await lease.commit(items=handled)
