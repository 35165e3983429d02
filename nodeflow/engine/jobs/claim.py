"""The right to run a graph, which one supervisor at a time has."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from nodeflow.errors import AlreadyRunningError, JobError
from nodeflow.storage import Claim, DataStore

_LASTS_SECONDS = 15.0
_RENEW_SECONDS = 3.0


@asynccontextmanager
async def sole_supervisor(graph: str, store: DataStore) -> AsyncIterator[None]:
    """Hold the right to run a graph; the right of a supervisor that died on this machine is taken over at once.

    Args:
        graph: the graph's name.
        store: the store, below the graph's prefix.

    Raises:
        AlreadyRunningError: another supervisor has it.
        JobError: it was lost meanwhile, because this process was frozen for longer than it lasts.
    """
    claim = store.claim("supervisor", f"{socket.gethostname()}, process {os.getpid()}", _LASTS_SECONDS)
    holder = await claim.take()
    if holder != claim.holder and _is_dead(holder):
        holder = await claim.take(instead_of=holder)
    if holder != claim.holder:
        raise AlreadyRunningError(graph, holder)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_renew, graph, claim)
            yield
            tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await claim.give_back()


async def _renew(graph: str, claim: Claim) -> None:
    while True:
        await anyio.sleep(_RENEW_SECONDS)
        holder = await claim.take()
        if holder != claim.holder:
            raise JobError(f"{holder} has taken over graph {graph!r}, because this supervisor didn't answer for long")


def _is_dead(holder: str) -> bool:
    """Whether a holder was a process of this machine that is gone."""
    found = re.fullmatch(rf"{re.escape(socket.gethostname())}, process (\d+)", holder)
    if found is None:
        return False
    try:
        os.kill(int(found.group(1)), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
