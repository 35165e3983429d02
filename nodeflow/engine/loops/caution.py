"""Caution: a value of a producer of which a process may have died is tried alone, and not for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from functools import partial
from typing import Any

import anyio
from attrs import define, field

from nodeflow.engine.core.endings import StoppedError
from nodeflow.engine.core.marks import ahead_mark, position_mark, tried_mark, tries_mark
from nodeflow.engine.core.results import Results
from nodeflow.engine.loops.hops import Hops
from nodeflow.engine.way.hands import Hands
from nodeflow.errors import StorageError
from nodeflow.graph import NodeSpec
from nodeflow.storage.groups import first_error

_FEW = 64
"""How many values a producer may have in hand at first: so many are tried alone, if its process dies then."""

_MANY = 65_536
"""How many it may have at last: more than two hops carry, and few enough to come to the culprit in parts of a few."""


@define(eq=False)
class Alone:
    """Keeps values that are tried alone apart from all else that their process could have in hand.

    Args:
        turn: held by the head whose items go through the loop, where that waits for all nodes.
        hands: the items in hand, where it doesn't.
    """

    turn: anyio.Lock
    hands: Hands
    lock: anyio.Lock = field(factory=partial(anyio.Lock, fast_acquire=True), init=False)
    """Held by what is tried alone; while something may have to be, also by whatever else is in hand."""
    _suspected: set[str] = field(factory=set, init=False)
    _calm: anyio.Event = field(factory=anyio.Event, init=False)

    def suspect(self, giver: str) -> None:
        """From now on a producer, or a queue, may give what has to be tried alone."""
        self._suspected.add(giver)

    def trust(self, giver: str) -> None:
        """It has nothing more of that kind."""
        self._suspected.discard(giver)
        if not self._suspected:
            self._calm.set()
            self._calm = anyio.Event()

    @property
    def is_called_for(self) -> bool:
        """Whether something may have to be tried alone."""
        return bool(self._suspected)

    async def over(self, seconds: float) -> None:
        """Wait for the time when nothing has to be tried alone any more, so many seconds at most."""
        if self.is_called_for:
            with anyio.move_on_after(seconds):
                await self._calm.wait()

    def apart(self) -> AbstractAsyncContextManager[Any]:
        """Have in hand what isn't tried alone: never while something is."""
        return self.lock if self.is_called_for else nullcontext()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Have something in hand, and nothing else; it must be committed at the end."""
        async with self.lock:
            async with self.turn:
                pass
            await self.hands.until_none()
            yield


@define(eq=False)
class Caution:
    """How far a producer may go ahead of what is committed, and which of its values are tried alone.

    Where a process died with many values in hand, the next one takes them on in parts of a few, and where one died with
    a few in hand, alone.

    Args:
        hops: commits.
        head: the producer.
        slot: which process of its loop this is.
        marks: the job's marks when the process began.
    """

    hops: Hops
    head: NodeSpec
    slot: int
    marks: Mapping[str, int]
    position: int = field(init=False)
    """How many of the producer's values are committed."""
    tries: int = field(init=False)
    """How often the next value was tried alone by processes that died of it."""
    until: int = field(init=False)
    """The number of the first value that need not be tried alone."""
    _calm: int = field(init=False)
    """That of the first one behind which there may be more in hand."""
    _at: str = field(init=False)
    _ahead: str = field(init=False)
    _tried: str = field(init=False)
    _tries: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        head, slot, marks = self.head.id, self.slot, self.marks
        self._at, self._ahead = position_mark(head, slot), ahead_mark(head, slot)
        self._tried, self._tries = tried_mark(head, slot), tries_mark(head, slot)
        self.position, ahead = marks.get(self._at, 0), marks.get(self._ahead, 0)
        self.tries = marks.get(self._tries, 0) if marks.get(self._tried, 0) == self.position + 1 else 0
        self._calm = self.position + ahead + 1 if ahead else self.position
        self.until = self._calm if ahead <= _FEW else self.position
        self.hops.expect(self._at, self.position)
        self.hops.expect(self._ahead, _MANY if self.head.options.live else ahead)

    @property
    def is_called_for(self) -> bool:
        """Whether a value may have to be tried alone."""
        return self.head.options.live or self.position < self.until

    async def begin(self) -> None:
        """Note that a few values may be in hand from now on."""
        if not self.head.options.live and self.hops.known(self._ahead) != _FEW:
            await self.hops.commit(Results(marks={self._ahead: _FEW}))

    def room(self) -> int:
        """The number of the first value that may not be taken yet."""
        return self.hops.known(self._at) + self.hops.known(self._ahead)

    def widen(self, number: int, results: Results) -> None:
        """Have more values in hand once results are committed, if more than half of what may be is."""
        most = self.hops.known(self._ahead)
        if 2 * (number - self.hops.known(self._at)) > most and number >= self._calm and most < _MANY:
            results.marks[self._ahead] = 4 * most

    @asynccontextmanager
    async def noted(self, number: int) -> AsyncIterator[None]:
        """Have it noted that a value is tried alone, once more; but not for one that was broken off by an exception."""
        await self.hops.mark({self._tried: number + 1, self._tries: self.tries + 1})
        try:
            yield
        except BaseException:
            with anyio.CancelScope(shield=True), suppress(StorageError):
                await self.hops.mark({self._tries: self.tries})
            raise
        self.tries = 0

    async def end(self) -> None:
        """Note that no value is in hand."""
        with anyio.CancelScope(shield=True), suppress(StorageError):
            await self.hops.mark({self._ahead: 0, self._tried: 0, self._tries: 0})

    def error(self) -> dict[str, str]:
        """Why the next value is not tried any more, as it is kept."""
        process = f"{self.head.loop}/{self.slot}"
        message = f"process {process} died while it went through the loop alone, {self.tries} times"
        return {"type": "Death", "message": message, "traceback": ""}


@asynccontextmanager
async def orderly(cautions: Sequence[Caution]) -> AsyncIterator[None]:
    """Note at the end that no value is in hand: the process doesn't die of one, also when a node stops the job."""
    try:
        yield
    except BaseException as error:
        if isinstance(first_error(error), StoppedError):
            await _end(cautions)
        raise
    await _end(cautions)


async def _end(cautions: Sequence[Caution]) -> None:
    for each in cautions:
        await each.end()
