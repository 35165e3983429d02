"""The ledger of one job: what its nodes have done so far, and which of its loops are done."""

from __future__ import annotations

from nodeflow.storage.connection import RedisConnection
from nodeflow.storage.keys import Keys


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
        operation = f"read the counts of job {self.job}"
        fields = await self._connection.call("HGETALL", self._keys.job(self.job), operation=operation)
        return {field.decode(): int(value) for field, value in zip(fields[::2], fields[1::2], strict=True)}

    async def claim(self, mark: str) -> bool:
        """Set a mark that only one process can have; whether it is ours."""
        session = await self._connection.session()
        key = self._keys.job(self.job)
        with session.lane() as lane:
            keys = [key, self._keys.sent(key, session.id)]
            operation = f"claim {mark} of job {self.job}"
            return bool(await self._connection.step("mark", keys, [*lane, mark], operation))

    async def used_up(self, queue: str, done_mark: str) -> bool:
        """Whether a queue has no more to give, looked at in one step.

        Args:
            queue: its name.
            done_mark: the mark that its writer sets when it is done.

        Returns:
            True when the mark is set and nothing waits, is leased or delayed.
        """
        keys = [*self._keys.all_of(queue), self._keys.job(self.job)]
        operation = f"look whether '{queue}' is used up"
        return bool(await self._connection.run_script("used_up", keys, [done_mark], operation))

    async def remove(self) -> None:
        """Remove the counts and marks, when the job is over."""
        operation = f"remove the counts of job {self.job}"
        await self._connection.call("DEL", self._keys.job(self.job), operation=operation)
