"""Items in hand: while one waits for a node that doesn't block, others have their turn, one at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import takewhile
from typing import Any, Protocol

import anyio
from attrs import define, field

from nodeflow.engine.calls.invoke import Nodes
from nodeflow.engine.core.endings import DrainedError
from nodeflow.engine.core.results import Results


class Lot(Protocol):
    """Items that are committed together: those of a lease, or of a producer.

    Args:
        line: equal for lots that are committed in the order in which their items are whole.
    """

    @property
    def line(self) -> object: ...

    async def when_whole(self, hand: Hand) -> None:
        """Take an item of which nothing is under way any more; it has its turn."""

    async def commit(self, hands: Sequence[Hand]) -> None:
        """Commit such items."""


@define(eq=False)
class Hand:
    """An item in hand.

    Args:
        hands: all that are in hand.
        lot: the items with which it is committed.
        name: what it is known by within the lot.
        key: its key; no other item of that key is in hand.
        partition: in which partition it is.
    """

    hands: Hands
    lot: Lot
    name: Any
    key: str = ""
    partition: int = 0
    results: Results = field(factory=Results, init=False)
    flights: int = field(default=1, init=False)
    """How much of it is under way: what has its turn, and each node that it waits for."""
    is_whole: bool = field(default=False, init=False)


@define(eq=False)
class Hands:
    """The items that are in hand in one process, oldest first.

    Args:
        nodes: the nodes, which are told in which partition they are.
        settle: commits what is to be committed before what other heads' items change.
        give_up: ends the work of all heads: there is no room for what comes of an item, and the process is to stop.
    """

    nodes: Nodes
    settle: Callable[[], Awaitable[None]]
    give_up: Callable[[], None] = field(default=lambda: None, init=False)
    _open: list[Hand] = field(factory=list, init=False)
    _whole: deque[Hand] = field(factory=deque, init=False)
    _turn: anyio.Lock = field(factory=lambda: anyio.Lock(fast_acquire=True), init=False)
    _waiting: list[tuple[Callable[[], bool], anyio.Event]] = field(factory=list, init=False)

    @asynccontextmanager
    async def turn(self, hand: Hand) -> AsyncIterator[None]:
        """Have an item's turn; when that leaves nothing of it under way, it is whole."""
        if hand not in self._open:
            self._open.append(hand)
        await self._take(hand)
        try:
            yield
            hand.flights -= 1
            if not hand.flights:
                hand.is_whole = True
                self._whole.append(hand)
                await hand.lot.when_whole(hand)
        except DrainedError:
            self.give_up()  # others may wait for this item
            raise
        finally:
            self._leave()

    async def until(self, hand: Hand, condition: Callable[[], bool]) -> None:
        """Let others have their turn until something holds."""
        while not condition():
            self._leave()
            try:
                await self._once(condition)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._take(hand)

    async def until_first_of_key(self, hand: Hand) -> None:
        """Wait until no older item of the same key is in hand."""
        if hand.key:
            await self.until(hand, lambda: all(other.key != hand.key for other in self._older(hand)))

    async def until_oldest(self, hand: Hand) -> None:
        """Wait until all older items are whole, and will be committed before this one.

        So what nodes remember is saved in the order in which it came about.
        """
        line = hand.lot.line
        await self.until(hand, lambda: all(each.is_whole and each.lot.line is line for each in self._older(hand)))
        await self.settle()

    async def until_only(self, hand: Hand) -> None:
        """Wait until all older items are committed."""
        await self.until(hand, lambda: not self._older(hand))

    async def until_committed(self, lot: Lot) -> None:
        """Wait until no item of a lot is in hand any more."""
        await self._once(lambda: all(hand.lot is not lot for hand in self._open))

    async def until_none(self) -> None:
        """Wait until no item is in hand any more."""
        await self._once(lambda: not self._open)

    async def commit(self) -> None:
        """Commit items in the order in which they became whole, until this is cancelled."""
        while True:
            while self._whole:
                lot = self._whole[0].lot
                hands = list(takewhile(lambda hand, lot=lot: hand.lot is lot, self._whole))  # type: ignore[misc]
                for _ in hands:
                    self._whole.popleft()
                await lot.commit(hands)
                self._open = [hand for hand in self._open if hand not in hands]
                self._changed()
            await self._once(lambda: bool(self._whole))

    async def _once(self, condition: Callable[[], bool]) -> None:
        """Wait until something held for a moment."""
        if condition():
            return
        waiting = (condition, anyio.Event())
        self._waiting.append(waiting)
        try:
            await waiting[1].wait()
        finally:
            self._waiting.remove(waiting)

    def _changed(self) -> None:
        for condition, event in self._waiting:
            if condition():
                event.set()

    def _older(self, hand: Hand) -> list[Hand]:
        return self._open[: self._open.index(hand)]

    async def _take(self, hand: Hand) -> None:
        await self._turn.acquire()
        self.nodes.partition = hand.partition

    def _leave(self) -> None:
        self._turn.release()
        self._changed()
