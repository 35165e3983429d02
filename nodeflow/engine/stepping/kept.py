"""What development mode keeps of a node: its output, and what it was made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from attrs import evolve, frozen

from nodeflow.engine.core.evaluation import Absent, Branches, Outcome
from nodeflow.values import RefValue

Sample = Mapping[str, int]
"""The producers and fan-outs that may have more values: how many of them were taken, of a fan-out for each item."""

NO_CHILD = "-"
"""What stands in the place of a child's number where there is none."""


@frozen
class KeptItem:
    """What a node gave for one item.

    Args:
        id: the item's id; those of a fan-out are `<item>.0`, `<item>.1`, …
        outcome: a value, values on branches, or that the node was skipped.
        partition: in which partition it is, in a loop with `by=`.
    """

    id: str
    outcome: Outcome
    partition: int = 0

    @property
    def is_sign(self) -> bool:
        """Whether it is no item, but says that a fan-out gave none, as those need to know who gather them."""
        return self.id.endswith(f".{NO_CHILD}")

    def to_data(self) -> dict[str, Any]:
        """As it is kept."""
        data = {"id": self.id, **({"partition": self.partition} if self.partition else {})}
        if isinstance(self.outcome, Absent):
            return data | {"status": "skipped"}
        if isinstance(self.outcome, Branches):
            return data | {"status": "done", "branches": dict(self.outcome.values)}
        return data | {"status": "done", "value": self.outcome}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> KeptItem:
        """From how it is kept."""
        partition = data.get("partition", 0)
        if data["status"] == "skipped":
            return cls(data["id"], Absent.SKIPPED, partition)
        return cls(data["id"], Branches(data["branches"]) if "branches" in data else data["value"], partition)


@frozen(kw_only=True)
class KeptOutput:
    """The kept output of one node.

    Args:
        fingerprint: what the node's code and configuration were.
        inputs: the digest of what it took, by port, as `source` or `source.branch` and the digest.
        items: what it gave, in order; None when it can't be kept, or when it isn't read yet. Large values may be
            references.
        stream: the blob in which the items are kept, when they are many.
        count: how many items there are.
        sample: how many values of which producers and fan-outs were taken, where there may be more; empty for all.
        at: when it was made; None when that can't be read.
        seconds: how long that took.
        reason: why it can't be kept.
        digest: equal for equal items; empty when they can't be kept.
        size: bytes of the items.
    """

    fingerprint: Mapping[str, str]
    inputs: Mapping[str, Sequence[str]]
    items: Sequence[KeptItem] | None
    sample: Sample
    at: datetime | None
    seconds: float
    stream: RefValue | None = None
    count: int = 0
    reason: str = ""
    digest: str = ""
    size: int = 0

    def to_data(self) -> dict[str, Any]:
        """As it is kept."""
        return {
            "fingerprint": dict(self.fingerprint),
            "inputs": {port: list(source) for port, source in self.inputs.items()},
            "items": [] if self.reason or self.stream else [item.to_data() for item in self.items or ()],
            "stream": self.stream,
            "count": self.count,
            "sample": dict(self.sample),
            "at": self.at.isoformat() if self.at else None,
            "seconds": self.seconds,
            "reason": self.reason,
            "digest": self.digest,
            "size": self.size,
        }

    @classmethod
    def unreadable(cls, reason: str) -> KeptOutput:
        """What stands for an output that is kept, but can't be read."""
        return cls(fingerprint={}, inputs={}, items=None, sample={}, at=None, seconds=0.0, reason=reason)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> KeptOutput:
        """From how it is kept."""
        is_read = not data["reason"] and data["stream"] is None
        return cls(
            fingerprint=data["fingerprint"],
            inputs=data["inputs"],
            items=[KeptItem.from_data(item) for item in data["items"]] if is_read else None,
            stream=data["stream"],
            count=data["count"],
            sample=dict(data["sample"]),
            at=datetime.fromisoformat(data["at"]),
            seconds=data["seconds"],
            reason=data["reason"],
            digest=data["digest"],
            size=data["size"],
        )


async def changed(item: KeptItem, change: Callable[[Any], Awaitable[Any]]) -> KeptItem:
    """An item with each of its values changed."""
    if isinstance(item.outcome, Absent):
        return item
    if isinstance(item.outcome, Branches):
        return evolve(item, outcome=Branches({name: await change(each) for name, each in item.outcome.values.items()}))
    return evolve(item, outcome=await change(item.outcome))


def value_of(item: KeptItem) -> Any:
    """The value of an item, or its values by branch; None when the node was skipped."""
    if isinstance(item.outcome, Absent):
        return None
    return dict(item.outcome.values) if isinstance(item.outcome, Branches) else item.outcome


def output_key(node: str) -> str:
    """The cache key of a node's kept output."""
    return f"{node}_output"


def growing_key(node: str) -> str:
    """The cache key of the blob in which a step that is under way keeps what the node gives."""
    return f"{node}_growing"
