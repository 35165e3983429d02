"""A producer at work in one process: its values go through the loop, and are committed as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from attrs import define, field

from nodeflow.engine.calls.invoke import is_async, nodes_error
from nodeflow.engine.core.marks import end_mark, position_mark
from nodeflow.engine.core.results import Results
from nodeflow.engine.core.work import Work
from nodeflow.engine.loops.apart import Apart, apart
from nodeflow.engine.loops.caution import Caution
from nodeflow.engine.loops.draining import INTERRUPTED, Interrupted
from nodeflow.engine.loops.outbox import Outbox
from nodeflow.engine.way.express import Express, Stray
from nodeflow.engine.way.hands import Hand
from nodeflow.graph import NodeSpec

if TYPE_CHECKING:
    from nodeflow.engine.loops.loop import Worker


@define(eq=False)
class Producing:
    """A producer at work in one process.

    Args:
        worker: takes its values through the loop.
        caution: says which of them it takes through alone.
    """

    worker: Worker
    caution: Caution
    head: NodeSpec = field(init=False)
    position: int = field(init=False)
    """How many of its values were committed when this process began."""
    at: str = field(init=False)
    """The mark of how many are committed."""
    end: str = field(init=False)
    """The mark that it has no more."""
    has_sought: bool = field(default=False, init=False)
    is_stopped: bool = field(default=False, init=False)
    next: int = field(default=0, init=False)
    """The number of the next value that is committed."""
    _whole: dict[int, Hand] = field(factory=dict, init=False)
    _task: asyncio.Task[Any] | None = field(default=None, init=False)
    _is_pulling: bool = field(default=False, init=False)
    _apart: Apart | None = field(default=None, init=False)
    _prefix: str = field(init=False)
    _first: int = field(default=0, init=False)
    _number: int = field(default=0, init=False)
    """Those of the value that was given first, and of the next one."""
    _error: BaseException | None = field(default=None, init=False)
    express: Express | None = field(default=None, init=False)
    outbox: Outbox = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.head, self.position = self.caution.head, self.caution.position
        self.at = position_mark(self.head.id, self.worker.post.slot)
        self.end = end_mark(self.head.id, self.worker.post.slot)
        self._prefix = f"{self.worker.post.job}.{self.head.id}.{self.worker.post.slot}."
        self.outbox = Outbox(self.worker.hops.commit)
        self.outbox.is_ahead = lambda: self._number >= self.caution.room()
        self.express = self.worker.express(self.head, self.outbox.results)
        self.outbox.before = self._before_commit

    def _before_commit(self) -> None:
        if self.express is not None:
            self.express.count()
        self.caution.widen(self._number, self.outbox.results)

    async def run(self) -> None:
        """Take its values through the loop, from its position on."""
        self.next = self.position
        self._task = asyncio.current_task()
        await self.caution.begin()
        if self.head.options.live:
            await self._resume()
        self._first = self._number = self.position if self.head.options.live else 0
        async with AsyncExitStack() as stack:
            values = await self._source(stack)
            while not self.is_stopped and (value := await self.next_of(values)) is not _END:
                await self._take(value)
                if self._is_fast and not is_async(values):
                    await self._hurry(self._following(values))
        await self.worker.hands.until_committed(self)
        if not self.is_stopped:
            self.outbox.results.marks[self.end] = 1
            await self.outbox.end()

    async def _source(self, stack: AsyncExitStack) -> Any:
        """What gives the values; those that come in their own time are waited for in a thread."""
        values = await stack.enter_async_context(self.worker.runner.nodes.source(self.head, self._seek))
        if not self.head.options.live or is_async(values):
            return values
        self._apart = await stack.enter_async_context(apart(values))
        return self._apart

    async def _take(self, value: Any) -> None:
        """Take a value through the loop, unless that was done before."""
        if self.has_sought and self._number == self._first:
            self._number = self.position
        if self._is_fast:
            await self._hurry([(self._item(self._number), value)])
            return
        if self._number >= self.position:
            await self._handle(value, self._number)
        self._number += 1
        if self.outbox.is_due:
            await self.outbox.give_turn()

    @property
    def _is_fast(self) -> bool:
        """Whether the next value may go the short way."""
        if self.express is None or self._number <= self.position or self._number < self.caution.until:
            return False
        return not self.worker.turn.locked() and not self.worker.alone.lock.locked()

    def _following(self, values: Iterator[Any]) -> Iterator[tuple[str, Any]]:
        """The next values and their ids, up to when others should have their turn."""
        outbox = self.outbox
        for number in range(self._number, self.caution.room()):
            if outbox.is_full or outbox.is_due:
                return
            try:
                value = self.next_now(values)
            except BaseException as error:  # the values before it come first
                self._error = error
                return
            if value is _END:
                return
            yield f"{self._prefix}{number}", value

    def stop(self) -> None:
        """Let it give no further value; what it has given goes on."""
        self.is_stopped = True
        if self._apart is not None:
            self._apart.stop()
        elif self._is_pulling and self._task is not None:
            self._task.cancel()

    def next_now(self, values: Iterator[Any]) -> Any:
        """The next value of a producer that isn't asynchronous; an error of the producer's says that it is."""
        try:
            value = next(values, _END)
        except Interrupted:
            value = _END
        except BaseException as error:
            self._blame(error)
        if value is _END and INTERRUPTED.is_set():
            self.is_stopped = True
        return value

    async def next_of(self, values: Any) -> Any:
        """As `next_now`, of any producer."""
        if not is_async(values):
            return self.next_now(values)
        self._is_pulling = True
        try:
            value = await anext(values, _END)
        except Interrupted:
            value = _END
        except asyncio.CancelledError as error:
            if self.is_stopped and self._task is not None and not self._task.uncancel():
                return _END
            self._blame(error)
        except BaseException as error:
            self._blame(error)
        finally:
            self._is_pulling = False
        if value is _END and INTERRUPTED.is_set():
            self.is_stopped = True
        return value

    def _blame(self, error: BaseException) -> NoReturn:
        own = nodes_error(error)
        if isinstance(own, Exception):
            own.add_note(
                f"raised by the producer {self.head.id!r}, so its values have no end that others could wait for"
            )
        raise own from own.__cause__

    async def _hurry(self, items: Iterable[tuple[str, Any]]) -> None:
        """Take values the short way."""
        assert self.express is not None
        passed, stray = self.express.through(items)
        self._number += passed
        self.outbox.results.marks[self.at] = self._number
        if stray is not None:
            await self._astray(self.express, stray)
            self._number += 1
        if self._error is not None:
            raise self._error
        await self.outbox.make_room()
        if self.outbox.is_due:
            await self.outbox.give_turn()

    async def _astray(self, express: Express, stray: Stray) -> None:
        """Take a value on by the long way."""
        if stray.place < 0:
            await self._handle(stray.outcomes[0], self._number)
            return
        self.worker.turn.acquire_nowait()  # waiting for it would meet the cancel scopes of the node that has begun
        self.outbox.begin()
        try:
            await express.astray(stray)
        finally:
            self.worker.turn.release()
        self.outbox.results.marks[self.at] = self._number + 1
        await self.outbox.end()

    def _seek(self) -> int:
        self.has_sought = True
        return self.position

    async def _resume(self) -> None:
        """Go on with the value that was under way: it doesn't come again."""
        item = self._item(self.position)
        if left := (await self.worker.in_parts.left([item])).get(item):
            await self._try(self.worker.intake.left(left, None, self.outbox.results), self.position)
            self.position += 1
        self.worker.alone.trust(self.head.id)

    async def _handle(self, value: Any, number: int) -> None:
        item = self._item(number)
        may_be_left = number == self.position and not self.head.options.live
        left = (await self.worker.in_parts.left([item])).get(item) if may_be_left else None
        works: Sequence[Work] = [Work(item=item, entry=self.head.id, kept={self.head.id: value})]
        if left is not None:
            works = self.worker.intake.left(left, None, self.outbox.results)
        if number < self.caution.until:
            await self._try(works, number)
            return
        async with self.worker.alone.apart():
            await self._run(works, number)

    async def _try(self, works: Sequence[Work], number: int) -> None:
        """Take a value alone through the loop of which a process may have died, unless too many have."""
        async with self.worker.alone.alone():
            if self.caution.tries < self.worker.post.most_deaths:
                async with self.caution.noted(number):
                    await self._run(works, number)
                    await self._be_whole()
            else:
                await self._bury(works, number)
                await self._be_whole()
        if number + 1 >= self.caution.until:
            self.worker.alone.trust(self.head.id)

    async def _be_whole(self) -> None:
        await self.worker.hands.until_none()
        await self.outbox.flush()

    async def _bury(self, works: Sequence[Work], number: int) -> None:
        self.outbox.begin()
        async with self.worker.turn:
            await self.worker.runner.bury(works, self.outbox.results, self.caution.error(), self.caution.tries)
        self.caution.tries, self.next = 0, number + 1
        await self._over(number)

    async def _run(self, works: Sequence[Work], number: int) -> None:
        if self.worker.runner.flights is not None:
            await self._run_overlapping(works, number)
            return
        self.outbox.begin()
        async with self.worker.turn:
            await self.worker.runner.run_each(
                works, self.outbox.results, flush=partial(self._flush, self._item(number))
            )
        await self._over(number)

    async def _over(self, number: int) -> None:
        self.worker.in_parts.over(self._item(number), self.outbox.results)
        self.outbox.results.marks[self.at] = number + 1
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
        return f"{self._prefix}{number}"

    async def _flush(self, item: str, results: Results, works: Sequence[Work]) -> None:
        if await self.worker.in_parts.note(item, works, results):
            await self.outbox.flush()


_END: Any = object()

PATIENT = frozenset({Producing.next_now.__code__, Producing.next_of.__code__})
"""Where a producer may wait for its next value for as long as it likes."""
