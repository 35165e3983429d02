"""What is known of jobs: one record for each, written by its supervisor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from nodeflow.storage.connection import RedisConnection
from nodeflow.storage.keys import Keys


class Jobs:
    """The records of the jobs below one prefix.

    Args:
        connection: the connection that all stores share.
        keys: the names of the keys.
    """

    def __init__(self, connection: RedisConnection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys

    async def list(self) -> list[dict[str, Any]]:
        """All records, by the jobs' ids: those sort by time."""
        fields = await self._connection.call("HGETALL", self._keys.jobs(), operation="list the jobs")
        return [orjson.loads(data) for _, data in sorted(zip(fields[::2], fields[1::2], strict=True))]

    async def put(self, job: str, record: Mapping[str, Any]) -> None:
        """Write the record of a job.

        Args:
            job: its id.
            record: JSON values.
        """
        data = orjson.dumps(record)
        operation = f"write the record of job {job}"
        await self._connection.run_script("at_full", [self._keys.jobs()], ["HSET", job, data], operation)

    async def remove(self, *jobs: str) -> None:
        """Remove the records of jobs."""
        if jobs:
            await self._connection.call("HDEL", self._keys.jobs(), *jobs, operation="remove the records of jobs")
