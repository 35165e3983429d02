"""What one process has done with a store so far."""

from __future__ import annotations

from typing import Any

from attrs import asdict, define, evolve

from nodeflow.values.counts import Histogram, ValueCounts


@define(kw_only=True)
class Stats(ValueCounts):
    """Counts of one process since its store was opened, with those of `ValueCounts`; `store.stats()` gives a copy.

    Args:
        pushes: items pushed, those of hops included.
        pops: items popped.
        leases: leases that held an item.
        leased: items of these leases.
        acks: items acknowledged.
        given_back: items given back or to be tried again.
        recovered: items of dead consumers that this process put back.
        dead: items that this process put into the dead letters.
        bytes_sent: bytes of values sent.
        bytes_received: bytes of values received.
        item_waits: how often a `pop` or `lease` had to wait for an item.
        item_wait_seconds: how long these waited, together.
        room_waits: how often a full queue made a push or a hop wait.
        room_wait_seconds: how long these waited, together.
        reconnects: how often a call had to be made again because the server was gone or not ready.
    """

    pushes: int = 0
    pops: int = 0
    leases: int = 0
    leased: int = 0
    acks: int = 0
    given_back: int = 0
    recovered: int = 0
    dead: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    item_waits: int = 0
    item_wait_seconds: float = 0.0
    room_waits: int = 0
    room_wait_seconds: float = 0.0
    reconnects: int = 0

    def waited_for_item(self, seconds: float) -> None:
        """Count a call that wanted an item."""
        self.item_waits += 1
        self.item_wait_seconds += seconds

    def copy(self) -> Stats:
        """The counts as they are now."""
        self.settle()
        found = asdict(self, recurse=False)
        histograms: dict[str, Any] = {name: each.copy() for name, each in found.items() if isinstance(each, Histogram)}
        return evolve(self, **histograms)
