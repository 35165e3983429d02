"""The writers of a queue: registered before it is read, so that its end can be known and a death is no end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from attrs import define, field

from nodeflow.errors import WriterLostError
from nodeflow.storage.arguments import slot_name
from nodeflow.storage.connection import RedisConnection
from nodeflow.storage.heart import heart_of
from nodeflow.storage.keys import Keys


@define(eq=False)
class Writers:
    """The writers of one queue.

    Args:
        connection: the connection that all stores share.
        keys: the names of the keys.
        name: the queue's name.
    """

    connection: RedisConnection
    keys: Keys
    name: str
    _lost: dict[str, int] = field(factory=dict, init=False)

    async def register(self, writers: Iterable[str]) -> None:
        """Say who will write; each has a lease's time to begin."""
        names = [writers] if isinstance(writers, str) else list(writers)
        await self._tell("open", "", *map(slot_name, names))

    @asynccontextmanager
    async def write_as(self, writer: str) -> AsyncIterator[None]:
        """Write as this writer, who is done on a clean exit."""
        session = await self.connection.session()
        heart = heart_of(self.connection, session)
        token = f"{session.id}.{heart.next_number()}"  # a session may write twice under one name: the last counts
        await self._tell("begin", token, slot_name(writer))
        heart.write_as(self.keys.writers(self.name), writer, token)
        try:
            yield
        finally:
            heart.write_no_more(self.keys.writers(self.name), writer, token)
        await self._tell("done", token, writer)

    async def end(self, writers: Iterable[str]) -> None:
        """Say for writers, whoever they were, that they are done."""
        names = [writers] if isinstance(writers, str) else list(writers)
        await self._tell("done", "", *map(slot_name, names))

    async def close(self) -> None:
        """Say for all writers that they are done."""
        await self._tell("close", "")

    async def is_finished(self) -> bool:
        """Whether all writers are done and nothing is left in the queue, looked at in one step.

        Raises:
            WriterLostError: one has given no sign of life for twice a lease's time.
        """
        keys = [*self.keys.all_of(self.name), *self.keys.writers(self.name)]
        is_finished, *rest = await self.connection.run_script(
            "finished", keys, [], f"look for the end of '{self.name}'"
        )
        if is_finished:
            return True
        now, *lost = rest
        self._lost = {writer: self._lost.get(writer, now) for writer in (name.decode() for name in lost)}
        patience = self.connection.settings.lease_seconds * 1000
        if gone := sorted(writer for writer, since in self._lost.items() if now - since >= patience):
            raise WriterLostError(self.name, gone)
        return False

    async def _tell(self, what: str, token: str, *writers: str) -> None:
        milliseconds = max(1, round(self.connection.settings.lease_seconds * 1000))
        session = await self.connection.session()
        keys = [*self.keys.writers(self.name), self.keys.sent(self.keys.queue(self.name), session.id)]
        with session.lane() as lane:
            arguments = [what, milliseconds, token, *lane, *writers]
            await self.connection.step("writers", keys, arguments, f"{what} writers of '{self.name}'")
