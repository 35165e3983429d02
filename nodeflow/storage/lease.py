"""A lease: items taken from a queue but not yet acknowledged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from nodeflow.errors import UsageError
from nodeflow.storage.arguments import clean, seconds_of
from nodeflow.storage.changes import Changes

if TYPE_CHECKING:
    from nodeflow.storage.heart import Member
    from nodeflow.storage.hops import Hops


class Item(NamedTuple):
    """One item of a lease; a tuple, because that is made fastest.

    Args:
        id: stays the same when the item is delivered again.
        value: what was pushed.
        attempt: 1 at the first delivery.
        error: why it came back, when it did because of one; else empty.
        deaths: how often it was delivered alone and failed.
    """

    id: str
    value: Any
    attempt: int = 1
    error: str = ""
    deaths: int = 0


class Lease(Sequence[Item]):
    """The items that one consumer holds, oldest first; `queue.lease(…)` gives it.

    Args:
        hops: what the lease is ended with.
        name: the queue's name.
        member: the consumer.
        lease_id: the lease's id in the server.
        number: its number among the consumer's leases.
        elements: what lies in it, oldest first, to be read by `open` or `read`.
        envelopes: how many of the first of them were delivered before.
    """

    def __init__(
        self,
        hops: Hops,
        name: str,
        member: Member,
        lease_id: str,
        number: int,
        elements: Sequence[bytes],
        envelopes: int = 0,
    ) -> None:
        self._hops = hops
        self.name, self.member, self.id, self.number = name, member, lease_id, number
        self.unread: Sequence[bytes] = elements
        """What lies in it, as long as it wasn't opened."""
        self.envelopes = envelopes
        self.fresh_values: Sequence[Any] | None = None
        """The values of all items, oldest first; None when one of them was delivered before, or it wasn't opened."""
        self._known: Sequence[Item] | None = None
        self._held: dict[str, int] | None = None if elements else {}

    async def open(self) -> None:
        """Read all that wasn't read; what can't be read goes to the dead letters, unless it was acknowledged before."""
        if self.unread:
            await self._hops.open(self)

    def opened(self, values: Sequence[Any] | None, items: Sequence[tuple[Item, int]] = ()) -> None:
        """Note what was read.

        Args:
            values: the values of its items, oldest first, when all are delivered for the first time.
            items: its items, oldest first, each with its place in the server's list, when that isn't so.
        """
        if not self.unread:  # another task was faster
            return
        self.unread, self.fresh_values = (), values
        if values is None:
            self._known = tuple(item for item, _ in items)
            self._held = {item.id: place for item, place in items} if self._held is None else self._held

    async def read(self, start: int, stop: int) -> Sequence[Any] | None:
        """The values of some items, when all are delivered for the first time; they are not kept.

        To have only some of many items in memory is faster, too: what was just read is still in the processor's cache.

        Args:
            start: the place of the first one.
            stop: that behind the last one.

        Returns:
            None where that can't be: `open` the lease then.
        """
        if not self.unread:
            return None if self.fresh_values is None else self.fresh_values[start:stop]
        return None if self.envelopes else await self._hops.read(self.unread[start:stop])

    @property
    def is_fresh(self) -> bool:
        """Whether all items are delivered for the first time."""
        return not self.envelopes if self.unread else self.fresh_values is not None

    @property
    def _items(self) -> Sequence[Item]:
        if self.unread:
            raise UsageError(f"{self!r} wasn't read yet: `await lease.open()`")
        if self._known is None:
            values = self.fresh_values or ()
            self._known = tuple(map(Item, [f"{self.id}.{place}" for place in range(len(values))], values))
        return self._known

    @property
    def _places(self) -> dict[str, int]:
        """The place of each item that it still holds."""
        if self._held is None:
            self._held = {item.id: place for place, item in enumerate(self._items)}
        return self._held

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        return self._items[index]

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self.unread or (self._items if self.fresh_values is None else self.fresh_values))

    def __repr__(self) -> str:
        return f"<Lease from {self.name!r} that holds {self.left} of {len(self)} items>"

    @property
    def is_open(self) -> bool:
        """Whether it still holds items."""
        return self._held is None or bool(self._held)

    @property
    def held(self) -> list[Item]:
        """The items that were not acknowledged, given back or otherwise dealt with yet."""
        return [item for item in self._items if item.id in self._places]

    async def commit(
        self,
        *,
        items: Iterable[Item] | None = None,
        refused: Sequence[tuple[Item, str]] = (),
        pushes: Mapping[str, Sequence[Any]] | None = None,
        states: Mapping[str, Any] | None = None,
        dead: Mapping[str, Sequence[Any]] | None = None,
        reason: str = "",
        later: Mapping[str, Sequence[tuple[float, Any]]] | None = None,
        moved: Mapping[str, Sequence[tuple[Item, Any]]] | None = None,
        counts: Mapping[str, int] | None = None,
        job: str = "",
        changes: Changes | None = None,
        timeout: float | None = None,
    ) -> None:
        """Acknowledge items, push what came of them and save states, in one step of the server.

        Args:
            items: which; None means all that the lease still holds. The others stay leased.
            refused: items that go to the dead letters instead, each with its error; none of `items`.
            pushes: values by queue, oldest first.
            states: values by key, kept as the cache's entries of these keys without a time to live.
            dead: dead letters by the queue that they belong to.
            reason: their error.
            later: seconds of delay and value of what is pushed when that time is over, by queue.
            moved: items that go on in other queues, by queue, each with its value there; none of `items`. Their
                ids, attempts, errors and deaths stay. They wait in front of what was pushed there, in order, whatever
                the queue's bound.
            counts: what to add to the job's counts.
            job: whose counts.
            changes: what else it changes in the records of a job; instead of `counts` and `job`.
            timeout: seconds to wait while one of the queues has no room; None waits for ever.

        Raises:
            PayloadError: a value can't be encoded; nothing was sent and the lease is still open.
            QueueFullError: a queue had no room in time; nothing was done.
            LeaseLostError: the items were given to another consumer; nothing was done.
            UsageError: the lease holds nothing: it is empty, or all of it was dealt with already.
            StorageError: the server refused.
        """
        self._must_be_open()
        places = None if items is None else self._places_of(items)
        buried = self._places_of([item for item, _ in refused])
        moving = {
            name: list(zip(self._places_of([item for item, _ in lot]), [value for _, value in lot], strict=True))
            for name, lot in (moved or {}).items()
        }
        gone = [*buried, *(place for lot in moving.values() for place, _ in lot)]
        await self._hops.commit(
            lease=self,
            done=places,
            buried=[(place, clean(error)) for place, (_, error) in zip(buried, refused, strict=True)],
            after=lambda: self._forget(None if places is None else [*places, *gone]),
            pushes=pushes,
            states=states,
            dead=dead,
            reason=reason,
            later=later,
            moved=moving,
            changes=changes or Changes.of(counts, job),
            timeout=timeout,
        )

    async def extend(self) -> None:
        """Show a sign of life now; the heartbeat does so by itself.

        Raises:
            LeaseLostError: it came too late: the items were given to another consumer.
        """
        self._must_be_open()
        await self._hops.commit(lease=self, done=[])

    async def retry(self, item: Item, *, delay: float = 0.0, error: str = "") -> None:
        """Give one item back, to be delivered again after some time; the others stay leased.

        Args:
            item: which.
            delay: seconds, by the server's clock.
            error: why, for `Item.error` of its next delivery.

        Raises:
            LeaseLostError: the item was given to another consumer.
        """
        self._must_be_open()
        (place,) = self._places_of([item])
        microseconds = round(seconds_of("delay", delay) * 1e6)
        retries = [(place, microseconds, clean(error))]
        await self._hops.commit(lease=self, done=[], retries=retries, after=lambda: self._forget([place]))

    async def dead_letter(self, item: Item, error: str) -> None:
        """Put one item into the dead letters; the others stay leased.

        Args:
            item: which.
            error: why.

        Raises:
            LeaseLostError: the item was given to another consumer.
        """
        self._must_be_open()
        (place,) = self._places_of([item])
        await self._hops.commit(
            lease=self, done=[], buried=[(place, clean(error))], after=lambda: self._forget([place])
        )

    async def give_back(self, error: str = "") -> None:
        """Put what the lease still holds back at the front of the queue, in order, for a further attempt.

        Args:
            error: what went wrong with it. Then the items are delivered one at a time, and one that fails alone
                `max_deliveries` times goes to the dead letters with the error.
        """
        if self.is_open:
            await self._hops.give_back(self.name, self.member, self.number, clean(error))
            self._forget(None)

    @property
    def left(self) -> int:
        """How many items it still holds."""
        return len(self) if self._held is None else len(self._held)

    def _must_be_open(self) -> None:
        if not self.is_open:
            raise UsageError(f"{self!r}: there is nothing left to commit, extend or retry; ask `if lease:` first")

    def _places_of(self, items: Iterable[Item]) -> list[int]:
        places = []
        for item in items:
            if item.id not in self._places:
                raise UsageError(f"{self!r} doesn't hold item {item.id}: it is another lease's, or was dealt with")
            places.append(self._places[item.id])
        if len(set(places)) < len(places):
            raise UsageError(f"{self!r}: an item was named twice")
        return places

    def _forget(self, places: Iterable[int] | None) -> None:
        gone = None if places is None else set(places)
        if gone is None:
            self._held = {}
        else:
            self._held = {item_id: place for item_id, place in self._places.items() if place not in gone}
        if not self._held:
            self.member.held.discard(self.number)
