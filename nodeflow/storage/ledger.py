"""The ledger of one job: what its nodes have done so far, and which of its loops are done."""

from __future__ import annotations

from typing import Any

from nodeflow.storage.connection import RedisConnection
from nodeflow.storage.keys import Keys

JOB_SECONDS = 7 * 24 * 3600
"""How long a job's counts and marks are kept after the last change, in seconds."""


class Ledger:
    """The counts and marks of one job, changed only by its hops.

    Args:
        connection: the connection that all stores share.
        keys: the names of the keys.
        job: the job's id.
    """

    def __init__(self, connection: RedisConnection, keys: Keys, job: str) -> None:
        self._connection = connection
        self._keys = keys
        self.job = job

    async def read(self) -> dict[str, int]:
        """All counts and marks."""
        client = await self._connection.ensure_connection()
        with self._connection.errors(f"read the counts of job {self.job}"):
            fields: Any = await client.hgetall(self._keys.job(self.job))
        return {field.decode(): int(value) for field, value in fields.items()}

    async def claim(self, mark: str) -> bool:
        """Set a mark that only one process can have; whether it is ours."""
        client = await self._connection.ensure_connection()
        with self._connection.errors(f"claim {mark} of job {self.job}"):
            async with client.pipeline(transaction=True) as pipeline:
                pipeline.hsetnx(self._keys.job(self.job), mark, "1")
                pipeline.expire(self._keys.job(self.job), JOB_SECONDS)
                is_ours, _ = await pipeline.execute()
        return bool(is_ours)

    async def used_up(self, queue: str, done_mark: str) -> bool:
        """Whether a queue has no more to give, looked at in one step.

        Args:
            queue: its name.
            done_mark: the mark that its writer sets when it is done.

        Returns:
            True when the mark is set and nothing waits or is leased.
        """
        keys = [
            self._keys.job(self.job),
            self._keys.queue(queue),
            self._keys.returned(queue),
            self._keys.leases(queue),
        ]
        operation = f"look whether {queue!r} is used up"
        return bool(await self._connection.run_script("used_up", keys, [done_mark], operation))

    async def remove(self) -> None:
        """Remove the counts and marks, when the job is over."""
        client = await self._connection.ensure_connection()
        with self._connection.errors(f"remove the counts of job {self.job}"):
            await client.delete(self._keys.job(self.job))
