"""What came of some items: what goes on to which queue, what failed, and how many of each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from attrs import define, field

from nodeflow.engine.evaluation import Branches, Outcome, Task, Value
from nodeflow.engine.plan import Channel
from nodeflow.engine.traces import safe_text, user_trace
from nodeflow.graph import NodeSpec
from nodeflow.storage import DeadLetter


def done_count(node: str) -> str:
    """The count of the items that a node has handled, in its job's ledger."""
    return f"done:{node}"


def failed_count(node: str) -> str:
    """The count of the items on which a node raised, in its job's ledger."""
    return f"failed:{node}"


def dead_queue(loop: str) -> str:
    """The queue whose dead letters are those of a loop."""
    return f"loop_{loop}"


_MOST_WORDS = 10_000
"""How many characters of a value that can't be kept stand in a dead letter."""


@define
class Results:
    """What one hop carries.

    Args:
        pushes: encoded values by queue, oldest first.
        dead: encoded dead letters.
        counts: what to add to the job's ledger.
    """

    pushes: dict[str, list[bytes]] = field(factory=dict)
    dead: list[bytes] = field(factory=list)
    counts: dict[str, int] = field(factory=dict)
    _size: int = field(default=0, init=False)

    def push(self, queue: str, data: bytes) -> None:
        """Add what a writer was given, as it is pushed."""
        self.pushes.setdefault(queue, []).append(data)
        self._size += len(data)

    def fail(self, node: str, letter: bytes) -> None:
        """Add the dead letter of an item on which a node raised, and count it."""
        self.dead.append(letter)
        self._size += len(letter)
        self.count(failed_count(node))

    def count(self, name: str, increment: int = 1) -> None:
        """Add to a count of the job."""
        self.counts[name] = self.counts.get(name, 0) + increment

    @property
    def size(self) -> int:
        """How many bytes of values and dead letters there are."""
        return self._size

    def add(self, other: Results) -> None:
        """Add what came of further items."""
        for queue, values in other.pushes.items():
            self.pushes.setdefault(queue, []).extend(values)
        self.dead.extend(other.dead)
        self._size += other.size
        for name, increment in other.counts.items():
            self.count(name, increment)


def is_enveloped(data: Any) -> bool:
    """Whether this is an item of a channel, as `Results.push` writes it."""
    if not isinstance(data, dict) or not isinstance(data.get("id"), str) or len(data) != 2:
        return False
    return "value" in data or isinstance(data.get("branches"), dict)


def enveloped(channel: Channel | None, item_id: str, outcome: Outcome) -> Any:
    """What a writer pushes; None when it has nothing to push.

    Args:
        channel: the channel that its queue belongs to, or None when others read it: then the bare value goes there.
        item_id: the item's id.
        outcome: what the source gave.
    """
    if isinstance(outcome, Branches):
        taken = channel.branches or () if channel is not None else ()
        branches = {name: value for name, value in outcome.values.items() if name in taken}
        return {"id": item_id, "branches": branches} if branches else None
    assert isinstance(outcome, Value)
    return outcome.value if channel is None else {"id": item_id, "value": outcome.value}


def received(data: dict[str, Any]) -> Outcome:
    """What a reader gives for an item of its channel, as `Results.push` wrote it."""
    return Branches(data["branches"]) if "branches" in data else Value(data["value"])


def dead_letter(
    task: Task, given: Mapping[str, Any], error: BaseException, *, loop: str, job: str, attempt: int
) -> dict[str, Any]:
    """The record of an item that raised.

    Args:
        task: the node and the item.
        given: what it was called with, as it can be kept.
        error: what it raised.
        loop: the name of its loop.
        job: the job's id.
        attempt: which delivery of the item it was.
    """
    return {
        "item": task.item_id,
        "node": task.spec.id,
        "loop": loop,
        "job": job,
        "attempt": attempt,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "input": dict(given),
        "error": {
            "type": type(error).__qualname__,
            "message": _clean(safe_text(str, error)),
            "traceback": _clean(user_trace(error)),
        },
    }


def foreign_letter(letter: DeadLetter, reader: NodeSpec) -> dict[str, Any]:
    """The record of an item that a reader could not take in.

    Args:
        letter: what lies in the dead letters of its queue.
        reader: the reader.
    """
    return {
        "item": letter.id,
        "node": reader.id,
        "loop": reader.loop,
        "job": "",
        "attempt": letter.attempt,
        "at": letter.at.isoformat(timespec="milliseconds"),
        "input": {str(reader.target.queue): {"repr": repr(letter.raw)} if letter.raw else letter.value},
        "error": {"type": "PayloadError", "message": _clean(letter.error), "traceback": ""},
    }


def in_words(value: Any) -> dict[str, str]:
    """What stands in a dead letter for a value that can't be kept."""
    return {"repr": _clean(safe_text(repr, value))[:_MOST_WORDS]}


def _clean(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
