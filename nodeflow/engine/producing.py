"""A producer at work in one process: its values go through the loop, and are committed as they come."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
from attrs import define, field

from nodeflow.engine.hands import Hand
from nodeflow.engine.outbox import Outbox
from nodeflow.engine.results import Results
from nodeflow.engine.work import Work
from nodeflow.graph import NodeSpec

if TYPE_CHECKING:
    from nodeflow.engine.loop import Worker


@define(eq=False)
class Producing:
    """A producer at work in one process.

    Args:
        worker: takes its values through the loop.
        head: the producer.
        at: the mark of how many of its values are committed.
        end: the mark that it has no more.
        position: how many are committed.
    """

    worker: Worker
    head: NodeSpec
    at: str
    end: str
    position: int
    has_sought: bool = field(default=False, init=False)
    is_stopped: bool = field(default=False, init=False)
    next: int = field(default=0, init=False)
    """The number of the next value that is committed."""
    _whole: dict[int, Hand] = field(factory=dict, init=False)
    _pulling: anyio.CancelScope = field(factory=anyio.CancelScope, init=False)
    outbox: Outbox = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.outbox = Outbox(self.worker.hops.commit)

    async def run(self) -> None:
        """Take its values through the loop, from its position on."""
        self.next = self.position
        if self.head.options.live:
            await self._resume()
        first = self.position if self.head.options.live else 0
        number = first
        async with aclosing(self.worker.runner.nodes.produce(self.head, self._seek)) as values:
            async for value in self._until_stopped(named(self.head, values)):
                if self.has_sought and number == first:
                    number = self.position
                if number >= self.position:
                    await self._handle(value, number)
                number += 1
                if self.outbox.is_due:
                    await anyio.lowlevel.checkpoint()
        await self.worker.hands.until_committed(self)
        if not self.is_stopped:
            self.outbox.results.marks[self.end] = 1
            await self.outbox.end()

    def stop(self) -> None:
        """Let it give no further value; what it has given goes on."""
        self.is_stopped = True
        self._pulling.cancel()

    async def _until_stopped(self, values: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        while not self.is_stopped:
            with anyio.CancelScope() as self._pulling:
                value = await anext(values, _END)
            if self._pulling.cancelled_caught or value is _END:
                return
            yield value

    def _seek(self) -> int:
        self.has_sought = True
        return self.position

    async def _resume(self) -> None:
        """Go on with the value that was under way: it doesn't come again."""
        item = self._item(self.position)
        if left := (await self.worker.in_parts.left([item])).get(item):
            await self._run(left, self.position)
            self.position += 1

    async def _handle(self, value: Any, number: int) -> None:
        item = self._item(number)
        may_be_left = number == self.position and not self.head.options.live
        left = await self.worker.in_parts.left([item]) if may_be_left else {}
        await self._run(left.get(item) or [Work(item=item, entry=self.head.id, kept={self.head.id: value})], number)

    async def _run(self, works: Sequence[Work], number: int) -> None:
        if self.worker.runner.flights is not None:
            await self._run_overlapping(works, number)
            return
        item, results = self._item(number), self.outbox.results
        self.outbox.begin()
        async with self.worker.turn:
            await self.worker.runner.run_each(works, results, flush=partial(self._flush, item))
        self.worker.in_parts.over(item, results)
        results.marks[self.at] = number + 1
        await self.outbox.end()

    async def _run_overlapping(self, works: Sequence[Work], number: int) -> None:
        hands = self.worker.hands
        hand = Hand(hands, self, number)

        async def flush(results: Results, left: Sequence[Work]) -> None:
            await hands.until_only(hand)
            if await self.worker.in_parts.note(self._item(number), left, results):
                self.outbox.results.add(results.take())
                await self.outbox.flush()

        async with hands.turn(hand):
            await self.worker.runner.run_each(works, hand.results, flush=flush, hand=hand)
        await self.outbox.end()

    @property
    def line(self) -> object:
        """Its values are committed in their own order."""
        return self

    async def when_whole(self, hand: Hand) -> None:
        """A value is whole: it is forgotten."""
        self.worker.in_parts.over(self._item(hand.name), hand.results)

    async def commit(self, hands: Sequence[Hand]) -> None:
        """Have values committed, in their order, since only how many those are is kept."""
        self._whole.update({hand.name: hand for hand in hands})
        while (whole := self._whole.pop(self.next, None)) is not None:
            whole.results.marks[self.at] = self.next + 1
            self.outbox.results.add(whole.results)
            self.next += 1
        self.outbox.wake()

    def _item(self, number: int) -> str:
        return f"{self.worker.post.job}.{self.head.id}.{self.worker.post.slot}.{number}"

    async def _flush(self, item: str, results: Results, works: Sequence[Work]) -> None:
        if await self.worker.in_parts.note(item, works, results):
            await self.outbox.flush()


async def named(head: NodeSpec, values: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    """The values of a producer; an error of its own says which one it was."""
    try:
        async for value in values:
            yield value
    except Exception as error:
        error.add_note(f"raised by the producer {head.id!r}, so its values have no end that others could wait for")
        raise


_END: Any = object()
