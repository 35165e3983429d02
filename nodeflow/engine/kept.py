"""What development mode keeps of a node: its output, and what it was made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from attrs import frozen

from nodeflow.engine.evaluation import Absent, Branches, Outcome, Value
from nodeflow.errors import PayloadError
from nodeflow.values import digest, encode


@frozen
class KeptItem:
    """What a node gave for one item.

    Args:
        id: the item's id; those of a fan-out are `<item>.0`, `<item>.1`, …
        outcome: a value, values on branches, or that the node was skipped.
    """

    id: str
    outcome: Outcome

    def to_data(self) -> dict[str, Any]:
        """As it is kept."""
        if isinstance(self.outcome, Value):
            return {"id": self.id, "status": "done", "value": self.outcome.value}
        if isinstance(self.outcome, Branches):
            return {"id": self.id, "status": "done", "branches": dict(self.outcome.values)}
        return {"id": self.id, "status": "skipped"}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> KeptItem:
        """From how it is kept."""
        if data["status"] == "skipped":
            return cls(data["id"], Absent.SKIPPED)
        return cls(data["id"], Branches(data["branches"]) if "branches" in data else Value(data["value"]))


@frozen(kw_only=True)
class KeptOutput:
    """The kept output of one node.

    Args:
        fingerprint: what the node's code and configuration were.
        inputs: the digest of what it took, by port, as `source` or `source.branch` and the digest.
        items: what it gave, in order; None when it can't be kept.
        sample: how many values of each producer or fan-out were asked for when there may be more; None is all.
        at: when it was made.
        seconds: how long that took.
        reason: why it can't be kept.
    """

    fingerprint: Mapping[str, str]
    inputs: Mapping[str, Sequence[str]]
    items: Sequence[KeptItem] | None
    sample: int | None
    at: datetime
    seconds: float
    reason: str = ""

    def digest(self) -> str:
        """Equal for equal items; empty when they can't be kept."""
        if self.items is None or self.unkeepable:
            return ""
        return digest([item.to_data() for item in self.items])

    @property
    def unkeepable(self) -> str:
        """Why the items can't be kept, with the path of the part; empty when they can."""
        for item in self.items or ():
            try:
                encode(value_of(item))
            except PayloadError as error:
                return f"item {item.id}: {error}"
        return ""

    def to_data(self) -> dict[str, Any]:
        """As it is kept."""
        return {
            "fingerprint": dict(self.fingerprint),
            "inputs": {port: list(source) for port, source in self.inputs.items()},
            "items": None if self.items is None else [item.to_data() for item in self.items],
            "sample": self.sample,
            "at": self.at.isoformat(),
            "seconds": self.seconds,
            "reason": self.reason,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> KeptOutput:
        """From how it is kept."""
        items = data["items"]
        return cls(
            fingerprint=data["fingerprint"],
            inputs=data["inputs"],
            items=None if items is None else [KeptItem.from_data(item) for item in items],
            sample=data["sample"],
            at=datetime.fromisoformat(data["at"]),
            seconds=data["seconds"],
            reason=data["reason"],
        )


def value_of(item: KeptItem) -> Any:
    """The value of an item, or its values by branch; None when the node was skipped."""
    if isinstance(item.outcome, Value):
        return item.outcome.value
    return dict(item.outcome.values) if isinstance(item.outcome, Branches) else None


def output_key(node: str) -> str:
    """The cache key of a node's kept output."""
    return f"{node}_output"
