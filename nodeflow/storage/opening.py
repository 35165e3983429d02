"""What lies in a lease, opened one by one: its items, and what can't be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nodeflow.errors import PayloadError
from nodeflow.storage.envelopes import item_of, split
from nodeflow.storage.lease import Item
from nodeflow.storage.payloads import Payloads


async def opened_each(
    payloads: Payloads, queue: str, lease_id: str, envelopes: int, elements: Sequence[bytes]
) -> tuple[list[tuple[Item, int]], list[tuple[int, str]]]:
    """The items of a lease, each with its place, and the places of those that can't be read, with the reason.

    Args:
        payloads: what gives the values.
        queue: the queue's main key.
        lease_id: the lease's id; bare items get theirs from it.
        envelopes: how many of the first elements lie in envelopes.
        elements: what lay in the queue, oldest first.
    """
    heads: dict[int, dict[str, Any]] = {}
    bodies: dict[int, bytes] = {}
    garbage = []
    for place, data in enumerate(elements):
        if len(data) > payloads.most and place >= envelopes:
            garbage.append((place, f"{len(data)} bytes, more than the {payloads.most} that an item may have"))
            continue
        try:
            heads[place], bodies[place] = split(data) if place < envelopes else ({}, data)
        except PayloadError as error:
            garbage.append((place, error.reason))
    items = []
    for place, value in zip(bodies, await payloads.unpack_each(list(bodies.values()), queue), strict=True):
        if isinstance(value, PayloadError):
            garbage.append((place, value.reason))
            continue
        items.append((item_of(heads[place], value) if heads[place] else Item(f"{lease_id}.{place}", value), place))
    return items, sorted(garbage)
