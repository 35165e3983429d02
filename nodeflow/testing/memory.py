"""What stands for the server where a graph is run without one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field

from nodeflow.engine.core.evaluation import Absent, Branches, Outcome
from nodeflow.engine.core.results import Given
from nodeflow.values import decode, encode


class MemoryStore:
    """Encodes values as a store does, so that what can't travel is found; nothing is kept."""

    def encode(self, value: Any) -> bytes:
        """A value encoded."""
        return encode(value)

    @property
    def encode_small(self) -> Callable[[dict[str, Any], Any], bytes]:
        """Encodes what holds a value."""
        return lambda content, _: encode(content)

    async def prepare(self, queue: str, value: Any) -> bytes:
        """A value as it would lie in a queue."""
        return encode(value)

    async def prepare_field(self, job: str, name: str, value: Any) -> bytes:
        """A value as it would lie in a hash of a job."""
        return encode(value)

    async def offload(self, value: Any) -> None:
        """Nothing: there are no blobs."""

    @staticmethod
    def shown(outcome: Outcome) -> list[Any]:
        """What a node gave, as a list of none or one; later it may change it."""
        if isinstance(outcome, Absent):
            return []
        value = dict(outcome.values) if isinstance(outcome, Branches) else outcome
        try:
            return [decode(encode(value))]
        except Exception:  # it stays within its loop
            return [value]


@define
class _Record:
    parts: dict[str, bytes | None] = field(factory=dict)
    total: int | Absent | None = None
    told: bool = False


@define
class Records:
    """The records of joins; see `lib_changes.lua`."""

    _records: dict[tuple[str, str], _Record] = field(factory=dict)

    def put(self, given: Given) -> list[dict[str, Any]]:
        """Put a part into a record; the notices that come of it."""
        join = given.join
        record = self._records.setdefault((join.node, given.item), _Record(total=join.parts))
        if given.name is None:
            record.total = given.count
        elif record.parts.get(given.name) is None:
            record.parts[given.name] = given.data
        state = self._state(record, takes_dead=join.takes_dead)
        if state is None or (state == "dead" and record.told):
            return []
        record.told = record.told or state == "dead"
        count = record.total if state == "ready" else 0
        return [{"join": join.node, "item": given.item, "state": state, "count": count}]

    @staticmethod
    def _state(record: _Record, *, takes_dead: bool) -> str | None:
        dead = [name for name, data in record.parts.items() if data is None]
        if record.total is Absent.SKIPPED:
            return "skipped"
        if record.total == len(record.parts) and (takes_dead or not dead):
            return "ready"
        return "dead" if record.total is Absent.FAILED or (dead and not takes_dead) else None

    async def parts(self, join: str, item: str, names: Sequence[str]) -> list[Any]:
        """The parts of a record that is ready."""
        parts = self._records[join, item].parts
        return [None if (data := parts.get(name)) is None else decode(data) for name in names]
