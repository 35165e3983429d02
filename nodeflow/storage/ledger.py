"""The ledger of one job: what its nodes have done, how far its producers are, and which of its loops are done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from attrs import frozen

from nodeflow.storage.changes import joins_hash
from nodeflow.storage.connection import RedisConnection
from nodeflow.storage.keys import Keys
from nodeflow.storage.payloads import Payloads

_AT_ONCE = 1_000
"""How many fields are read in one step, so that the server is held up for nobody."""


@frozen(kw_only=True)
class LoopEnd:
    """When a loop has come to its end, and what happens then.

    Args:
        queues: the queues that feed it, those of its own work among them.
        needed: the marks that must be set before.
        finished: the mark of how many finishers were called.
        closed: the mark that says that it is closed.
    """

    queues: Sequence[str]
    needed: Sequence[str]
    finished: str
    closed: str


class Ledger:
    """The records of one job, changed only by its hops.

    Args:
        connection: the connection that all stores share.
        keys: the names of the keys.
        payloads: what gives the values.
        job: the job's id.
    """

    def __init__(self, connection: RedisConnection, keys: Keys, payloads: Payloads, job: str) -> None:
        self._connection = connection
        self._keys = keys
        self._payloads = payloads
        self.job = job

    async def read(self) -> dict[str, int]:
        """All counts and marks."""
        operation = f"read the counts of job {self.job}"
        fields = await self._connection.call("HGETALL", self._keys.job(self.job), operation=operation)
        return {field.decode(): int(value) for field, value in zip(fields[::2], fields[1::2], strict=True)}

    async def begin(self, mark: str) -> int:
        """Make a mark one more, so that no hop which expects what it was before is done any more; what it is now."""
        operation = f"take over {mark} of job {self.job}"
        return int(
            await self._connection.run_script("at_full", [self._keys.job(self.job)], ["HINCRBY", mark, 1], operation)
        )

    async def fields(self, name: str, fields: Sequence[str]) -> list[Any]:
        """The values of some fields of a hash of the job; None for one that isn't there.

        Raises:
            PayloadError: one can't be read.
        """
        key = self._keys.job_hash(self.job, name)
        found: list[Any] = []
        for first in range(0, len(fields), _AT_ONCE):
            some = fields[first : first + _AT_ONCE]
            data = await self._connection.call("HMGET", key, *some, operation=f"read {name} of job {self.job}")
            found += [await self._payloads.unpack(each, key) if each else None for each in data]
        return found

    async def table(self, name: str) -> dict[str, Any]:
        """All fields of a hash of the job; the server is never held up (HSCAN).

        Raises:
            PayloadError: one can't be read.
        """
        key = self._keys.job_hash(self.job, name)
        found: dict[str, Any] = {}
        cursor = -1
        while cursor != 0:
            command = ("HSCAN", key, max(cursor, 0), "COUNT", 1_000)
            reply, fields = await self._connection.call(*command, operation=f"read {name} of job {self.job}")
            cursor = int(reply)
            for field, data in zip(fields[::2], fields[1::2], strict=True):
                found[field.decode()] = await self._payloads.unpack(data, key)
        return found

    async def parts(self, join: str, item: str, names: Sequence[str]) -> list[Any]:
        """The parts of a record; None for one that is dead or isn't there."""
        return await self.fields(joins_hash(join), [f"{item}\n{name}" for name in names])

    async def end_loop(self, end: LoopEnd, finishers: Sequence[Sequence[tuple[str, bytes]]]) -> int:
        """Bring a loop that has come to its end one step further.

        Args:
            end: when it has.
            finishers: for each node that is told to finish, one after the other, the items by which it is, each with
                the queue in which it goes: one of the loop's own work.

        Returns:
            0 when more may come, 1 when a finisher is at work, 2 when the loop is closed.
        """
        plan: Mapping[str, Any] = {
            "queues": len(end.queues),
            "finishers": [[end.queues.index(name) + 1 for name, _ in items] for items in finishers],
            "needed": list(end.needed),
            "finished": end.finished,
            "closed": end.closed,
        }
        keys = [self._keys.job(self.job), *(key for name in end.queues for key in self._keys.all_of(name))]
        arguments = [orjson.dumps(plan), *(data for items in finishers for _, data in items)]
        return int(await self._connection.run_script("loop_end", keys, arguments, f"look for the end of {end.closed}"))

    async def unmark(self, marks: Sequence[str]) -> None:
        """Take marks back."""
        if marks:
            operation = f"take back marks of job {self.job}"
            await self._connection.call("HDEL", self._keys.job(self.job), *marks, operation=operation)

    async def remove(self, names: Sequence[str] = ()) -> None:
        """Remove all records of the job: its counts and marks, and these hashes."""
        keys = [self._keys.job(self.job), *(self._keys.job_hash(self.job, name) for name in names)]
        await self._connection.call("UNLINK", *keys, operation=f"remove the records of job {self.job}")
