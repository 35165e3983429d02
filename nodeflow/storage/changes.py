"""What a hop changes in the records of its job, in the same step in which it acknowledges and pushes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from attrs import field, frozen

from nodeflow.storage.keys import Keys

_WEEK_SECONDS = 604_800


@frozen(kw_only=True)
class Part:
    """What goes into the record of a join: a part, or how many there are.

    The last part that is missing puts a notice into the queue, as an item: `{"join": …, "item": …, "state": "ready",
    "count": …}`; a first one that is dead does so, too, with the state "dead".

    Args:
        join: the join's name.
        item: the id of the item whose parts are gathered.
        queue: the queue into which the notice goes.
        name: the part's name; None when this says how many there are.
        data: the part; None when it is dead.
        total: how many parts there are, where that is known; "skipped" or "dead" when there are none for that reason.
        takes_dead: whether a record is complete when what is missing is dead.
    """

    join: str
    item: str
    queue: str
    name: str | None = None
    data: bytes | None = None
    total: int | str | None = None
    takes_dead: bool = False


@frozen(kw_only=True)
class Gathered:
    """A record whose parts were taken out.

    Args:
        join: the join's name.
        item: the item's id.
        names: the parts' names.
    """

    join: str
    item: str
    names: Sequence[str]


@frozen(kw_only=True)
class Changes:
    """What a hop changes beside queues.

    Args:
        job: whose records these are.
        counts: what to add to the job's counts.
        expected: what marks must be, else nothing is done: somebody else has gone on already. A missing one is 0.
        marks: what marks become.
        fields: what becomes of the fields of hashes of the job, by hash; None removes a field.
        parts: what goes into the records of joins.
        gathered: the records that are over.
        lasts: for how many seconds the job's counts and marks stay after this; None leaves that as it is.
    """

    job: str
    counts: Mapping[str, int] = field(factory=dict)
    expected: Mapping[str, int] = field(factory=dict)
    marks: Mapping[str, int] = field(factory=dict)
    fields: Mapping[str, Mapping[str, bytes | None]] = field(factory=dict)
    parts: Sequence[Part] = ()
    gathered: Sequence[Gathered] = ()
    lasts: int | None = None

    @classmethod
    def of(cls, counts: Mapping[str, int] | None, job: str) -> Changes:
        """Counts alone, which go a week after the last change."""
        return cls(job=job, counts=counts or {}, lasts=_WEEK_SECONDS)

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing."""
        return not (self.counts or self.expected or self.marks or self.fields or self.parts or self.gathered)

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """The names of the hashes that it touches, the job's own left out."""
        joins = [*(joins_hash(part.join) for part in self.parts), *(joins_hash(each.join) for each in self.gathered)]
        return tuple(dict.fromkeys([*self.fields, *joins]))

    @cached_property
    def queues(self) -> tuple[str, ...]:
        """The queues into which notices may go."""
        return tuple(dict.fromkeys(part.queue for part in self.parts))

    def keys(self, keys: Keys) -> list[str]:
        """The keys that it changes, but for those of queues, the job's own first."""
        return [keys.job(self.job), *(keys.job_hash(self.job, name) for name in self.hashes)]

    def head(self) -> dict[str, Any]:
        """What the script gets of it beside keys and values."""
        hashes, queues = self.hashes, self.queues
        return {
            "counts": [part for pair in self.counts.items() for part in pair],
            "expected": [part for pair in self.expected.items() for part in pair],
            "marks": [part for pair in self.marks.items() for part in pair],
            "lasts": self.lasts or 0,
            "fields": [
                [hashes.index(name) + 1, field, data is not None]
                for name, fields in self.fields.items()
                for field, data in fields.items()
            ],
            "parts": [
                {
                    "hash": hashes.index(joins_hash(each.join)) + 1,
                    "queue": queues.index(each.queue) + 1,
                    "join": each.join,
                    "item": each.item,
                    "takes_dead": each.takes_dead,
                    **({} if each.name is None else {"name": each.name, "dead": each.data is None}),
                    **({} if each.total is None else {"total": each.total}),
                }
                for each in self.parts
            ],
            "gathered": [
                [hashes.index(joins_hash(each.join)) + 1, each.item, list(each.names)] for each in self.gathered
            ],
        }

    def values(self) -> list[bytes]:
        """The values that it brings, in the order in which the script takes them."""
        fields = [data for fields in self.fields.values() for data in fields.values() if data is not None]
        return [*fields, *(each.data for each in self.parts if each.data is not None)]


def joins_hash(join: str) -> str:
    """The job's hash of the records of a join."""
    return f"join:{join}"
