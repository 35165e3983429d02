"""What moves items into leases, back out of them and on: each one step of the server."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import anyio

from nodeflow.errors import NodeflowError, PayloadError
from nodeflow.storage.arguments import whole
from nodeflow.storage.batches import encode_each
from nodeflow.storage.connection import RedisConnection, to_the_end
from nodeflow.storage.keys import Keys
from nodeflow.storage.lease import Lease, leased_items
from nodeflow.storage.ledger import JOB_SECONDS

_LEAST_COUNT, _MOST_COUNT = -(2**63), 2**63 - 1


class Hops:
    """The steps of one consumer's leases. A step that was sent ends, also when its caller is cancelled.

    Args:
        connection: the connection that all stores share.
        keys: the names of the keys.
    """

    def __init__(self, connection: RedisConnection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys
        self._consumer = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
        self._numbers = itertools.count(1)

    async def take(self, name: str, max_items: int) -> Lease:
        """Lease up to so many of the items that wait now; empty when there are none."""
        lease_id = f"{self._consumer}-{next(self._numbers)}"
        keys = [self._keys.returned(name), self._keys.queue(name), *self._held(name, lease_id)]
        await self._connection.ensure_connection()  # a failure from here on may have taken items
        try:
            reply = await self._step("take", keys, [max_items, lease_id], f"lease from {name!r}")
            return Lease(self, name, lease_id, leased_items(lease_id, int(reply[0]), reply[:0:-1]))
        except PayloadError as error:
            await self.give_back_after(error, name, lease_id)
            raise PayloadError(error.path, f"{error.reason}, in queue {name!r}; pop or clear takes it out") from error
        except BaseException as error:
            await self.give_back_after(error, name, lease_id)
            raise

    async def give_back(self, name: str, lease_id: str) -> int:
        """Put the items of a lease back, in order; how many those were, 0 when it isn't open."""
        keys = [self._keys.returned(name), *self._held(name, lease_id)]
        return int(await self._step("give_back", keys, [lease_id], f"give back to {name!r}"))

    async def give_back_after(self, error: BaseException, name: str, lease_id: str) -> None:
        """Put the items of a lease back because of an error, which stays the one that is raised."""
        with anyio.CancelScope(shield=True):
            try:
                await self.give_back(name, lease_id)
            except NodeflowError as failure:
                error.add_note(f"what was leased from {name!r} could not be given back: {failure}")

    async def commit(
        self,
        *,
        lease: Lease | None = None,
        pushes: Mapping[str, Sequence[Any]] | None = None,
        dead: Mapping[str, Sequence[Any]] | None = None,
        counts: Mapping[str, int] | None = None,
        job: str = "",
    ) -> None:
        """One hop, as `Lease.commit`; the lease may be missing."""
        targets = {self._keys.queue(name): encode_each(values) for name, values in (pushes or {}).items() if values}
        targets |= {self._keys.dead(name): encode_each(values) for name, values in (dead or {}).items() if values}
        for field, increment in (counts or {}).items():
            whole(f"the count of {field!r}", increment, _LEAST_COUNT, _MOST_COUNT)
        held = self._held(lease.name, lease.id) if lease else []
        keys = [*([self._keys.job(job)] if counts else []), *held, *targets]
        if not keys:
            return
        fields = itertools.chain.from_iterable((counts or {}).items())
        sizes = [len(values) for values in targets.values()]
        values = itertools.chain.from_iterable(targets.values())
        arguments = [lease.id if lease else "", JOB_SECONDS, len(counts or {}), *fields, *sizes, *values]
        names = ", ".join(pushes or {}) or (lease.name if lease else job)
        await self._step("hop", keys, arguments, f"commit to {names}")

    async def held(self, name: str) -> int:
        """How many items of a queue are leased, by whomever."""
        client = await self._connection.ensure_connection()
        with self._connection.errors(f"count the leases of {name!r}"):
            async with client.pipeline(transaction=False) as pipeline:
                for key in await self._held_lists(name):
                    pipeline.llen(key)
                return int(sum(await pipeline.execute()))

    async def clear(self, name: str) -> None:
        """Remove the leased items of a queue, of which nobody who holds them is alive any more."""
        client = await self._connection.ensure_connection()
        with self._connection.errors(f"remove the leases of {name!r}"):
            await client.delete(self._keys.leases(name), *await self._held_lists(name))

    def _held(self, name: str, lease_id: str) -> list[str]:
        return [self._keys.leases(name), self._keys.leased(name, lease_id)]

    async def _held_lists(self, name: str) -> list[str]:
        client = await self._connection.ensure_connection()
        leases: Any = await client.hkeys(self._keys.leases(name))
        return [self._keys.leased(name, lease.decode()) for lease in leases]

    async def _step(self, script: str, keys: Sequence[str], arguments: Sequence[Any], operation: str) -> Any:
        return await to_the_end(self._connection.run_script(script, keys, arguments, operation))
