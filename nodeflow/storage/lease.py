"""A lease: items taken from a queue but not yet acknowledged."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import orjson
from attrs import frozen

from nodeflow.errors import PayloadError, StorageError
from nodeflow.values import decode

if TYPE_CHECKING:
    from nodeflow.storage.hops import Hops


@frozen
class Item:
    """One item of a lease.

    Args:
        id: stays the same when the item is delivered again.
        value: what was pushed.
        attempt: 1 at the first delivery.
    """

    id: str
    value: Any
    attempt: int = 1


class Lease(Sequence[Item]):
    """The items that one consumer holds, oldest first; `queue.lease(…)` gives it."""

    def __init__(self, hops: Hops, name: str, lease_id: str, items: Sequence[Item]) -> None:
        self._hops = hops
        self._items = tuple(items)
        self.name, self.id = name, lease_id
        self.is_open = bool(items)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"<Lease of {len(self)} from {self.name!r}>"

    async def commit(
        self,
        *,
        pushes: Mapping[str, Sequence[Any]] | None = None,
        dead: Mapping[str, Sequence[Any]] | None = None,
        counts: Mapping[str, int] | None = None,
        job: str = "",
    ) -> None:
        """Acknowledge the items and push what came of them, in one step of the server.

        Args:
            pushes: values by queue, oldest first.
            dead: dead letters by the queue that they belong to.
            counts: what to add to the job's counts.
            job: whose counts.

        Raises:
            PayloadError: a value can't be encoded; nothing was sent and the lease is still open.
            StorageError: the lease isn't open any more, or the server refused.
        """
        if not self.is_open:
            raise StorageError(f"{self!r} holds nothing: it is empty, or was committed or given back already")
        await self._hops.commit(lease=self, pushes=pushes, dead=dead, counts=counts, job=job)
        self.is_open = False

    async def give_back(self) -> None:
        """Put the items back at the front of their queue, in order, for a further attempt."""
        if self.is_open:
            await self._hops.give_back(self.name, self.id)
            self.is_open = False


def leased_items(lease_id: str, envelopes: int, elements: Sequence[bytes]) -> list[Item]:
    """The items of a lease.

    Args:
        lease_id: the lease's id; bare items get theirs from it.
        envelopes: how many of the first elements came back before, and so lie as envelopes.
        elements: what lay in the queue, oldest first.

    Raises:
        PayloadError: an element isn't JSON.
    """
    returned = [open_envelope(data) for data in itertools.islice(elements, envelopes)]
    bare = [
        Item(f"{lease_id}.{place}", decode(data))
        for place, data in enumerate(itertools.islice(elements, envelopes, None), envelopes)
    ]
    return returned + bare


def open_envelope(data: bytes) -> Item:
    """The item in an envelope, as `give_back.lua` writes it: a line with id and attempt, then what was pushed.

    Raises:
        PayloadError: it isn't one, or what was pushed isn't JSON.
    """
    head, _, element = data.partition(b"\n")
    try:
        envelope = orjson.loads(head)
        item_id, attempt = envelope["id"], envelope["attempt"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise PayloadError("$", f"not an item that was given back ({error}): {data[:60]!r}") from error
    return Item(item_id, decode(element), attempt)
