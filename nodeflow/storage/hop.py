"""One hop: what is acknowledged, saved and pushed in one step of the server, as its script takes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from attrs import field, frozen

from nodeflow.errors import PayloadError
from nodeflow.storage.changes import Changes
from nodeflow.storage.keys import Keys
from nodeflow.storage.lease import Lease

MOST_BYTES = 256 << 20


@frozen
class Hop:
    """One hop: its keys and values by group, in the order in which `hop.lua` takes them."""

    lease: Lease | None
    done: Sequence[int] | None
    retries: Sequence[tuple[int, int, str]]
    buried: Sequence[tuple[int, str]]
    pushes: dict[str, list[bytes]]
    states: dict[str, bytes]
    dead: dict[str, list[bytes]]
    reason: str
    later: dict[str, list[tuple[int, bytes]]]
    moved: dict[str, list[tuple[int, bytes]]]
    changes: Changes | None
    values: Sequence[bytes] = field(init=False)
    """All values that it carries, in the order in which `hop.lua` takes them."""
    size: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "values", list(chain.from_iterable(self._lots())))
        object.__setattr__(self, "size", sum(map(len, self.values)))
        if self.size > MOST_BYTES:
            raise PayloadError("$", f"{self.size:,} bytes of values in one hop: it may carry {MOST_BYTES:,}")

    @property
    def operation(self) -> str:
        """What is done, for an error."""
        job = self.changes.job if self.changes is not None else ""
        queue = self.lease.name if self.lease is not None else ", ".join([*self.pushes, *self.dead]) or job
        return f"commit to '{queue}'"

    def _lots(self) -> Iterator[Iterable[bytes]]:
        if self.changes is not None:
            yield self.changes.values()
        yield self.states.values()
        yield from self.pushes.values()
        yield from ([data for _, data in lot] for lot in self.later.values())
        yield from self.dead.values()
        yield from ([data for _, data in lot] for lot in self.moved.values())

    def keys(self, names: Keys) -> list[str]:
        """All keys that it touches, in the order in which `hop.lua` takes them."""
        found = list(self.lease.member.keys) if self.lease is not None else []
        if self.changes is not None:
            found += self.changes.keys(names)
            found += [key for name in self.changes.queues for key in names.all_of(name)]
        found += self.states
        queues = (*self.pushes, *self.later, *self.dead, *self.moved)
        return found + [key for name in queues for key in names.all_of(name)]

    def head(self, hop_id: str, milliseconds: int, lane: int, number: int) -> dict[str, Any]:
        """What `hop.lua` gets beside keys and values."""
        head: dict[str, Any] = {
            "lane": lane,
            "number": number,
            "id": hop_id,
            "milliseconds": milliseconds,
            "done": True if self.done is None else self.done,
            "retries": self.retries,
            "buried": self.buried,
            "states": len(self.states),
            "pushes": [len(lot) for lot in self.pushes.values()],
            "later": [[delay for delay, _ in lot] for lot in self.later.values()],
            "reason": self.reason,
            "dead": [len(lot) for lot in self.dead.values()],
            "moved": [[place for place, _ in lot] for lot in self.moved.values()],
        }
        if self.lease is not None:
            head["lease"] = self.lease.id
        if self.changes is not None:
            sizes = {"hashes": len(self.changes.hashes), "queues": len(self.changes.queues)}
            head["changes"] = self.changes.head() | sizes
        return head

    @property
    def is_empty(self) -> bool:
        """Whether it does nothing."""
        return not (self.lease is not None or self.pushes or self.states or self.dead or self.later or self.changes)
