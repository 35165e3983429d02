"""What came of some items: what goes on to which queue, what waits, what failed, and how many of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from attrs import define, evolve, field, fields, frozen

from nodeflow.engine.core.evaluation import Absent, Branches, Outcome
from nodeflow.engine.core.stages import Channel, Join
from nodeflow.engine.core.traces import safe_text, user_trace
from nodeflow.engine.core.work import kept_outcome, outcome_of
from nodeflow.graph import Edge, NodeSpec, origin
from nodeflow.storage import DeadLetter, Item, Ready


def done_count(node: str) -> str:
    """The count of the items that a node has handled, in its job's ledger."""
    return f"done:{node}"


def failed_count(node: str) -> str:
    """The count of the items on which a node raised for the last time, in its job's ledger."""
    return f"failed:{node}"


def refused_count(loop: str) -> str:
    """The count of the items that a loop could not take in, in its job's ledger."""
    return f"refused:{loop}"


def is_failure(count: str) -> bool:
    """Whether a count is of items that failed, or could not be taken in."""
    return count.startswith(("failed:", "refused:"))


def loop_queue(loop: str) -> str:
    """The queue of the work that a loop has left for later; its dead letters are those of the loop."""
    return f"loop_{loop}"


_MOST_WORDS = 10_000
"""How many characters of a value that can't be kept stand in a dead letter."""


@frozen
class Given:
    """What goes into the record of a join.

    Args:
        join: the join.
        item: the item's id.
        name: the part's name; None when this is how many parts there are.
        data: the part, encoded; None when it is dead.
        count: how many parts there are; `Absent` when that isn't known, or there is no parent.
    """

    join: Join
    item: str
    name: str | None = None
    data: bytes | None = None
    count: int | Absent = 0


@define
class Results:
    """What one hop carries.

    Args:
        pushes: values by queue as they will lie there, oldest first.
        later: what is pushed when its time has come: seconds from now on and the encoded value, by queue.
        dead: encoded dead letters.
        given: what goes into the records of joins.
        gathered: the records of joins that are over: the join, the item, and the names of the parts.
        counts: what to add to the job's ledger.
        marks: what marks of the ledger become.
        states: what nodes remember from now on, by hash and field; None for what is removed.
        progress: how far items are whose values are committed in parts, encoded; None where that is over.
        refused: items that the loop can't take in, each with the reason.
        size: how many bytes all that has.
    """

    pushes: dict[str, Ready] = field(factory=dict)
    later: dict[str, list[tuple[float, bytes]]] = field(factory=dict)
    dead: list[bytes] = field(factory=list)
    given: list[Given] = field(factory=list)
    gathered: list[tuple[str, str, list[str]]] = field(factory=list)
    counts: defaultdict[str, int] = field(factory=lambda: defaultdict(int))
    marks: dict[str, int] = field(factory=dict)
    states: dict[str, dict[str, bytes | None]] = field(factory=dict)
    progress: dict[str, bytes | None] = field(factory=dict)
    refused: list[tuple[Item, str]] = field(factory=list)
    size: int = 0

    def push(self, queue: str, data: bytes) -> None:
        """Add what a writer was given, as it is pushed."""
        lot = self.pushes.get(queue)
        if lot is None:
            lot = self.pushes[queue] = Ready()
        lot.append(data)
        self.size += len(data)

    def wait(self, queue: str, seconds: float, work: bytes) -> None:
        """Add work that is gone on with later."""
        self.later.setdefault(queue, []).append((seconds, work))
        self.size += len(work)

    def fail(self, node: str, letter: bytes) -> None:
        """Add the dead letter of an item on which a node raised, and count it."""
        self.dead.append(letter)
        self.size += len(letter)
        self.count(failed_count(node))

    def give(self, given: Given) -> None:
        """Add what goes into the record of a join."""
        self.given.append(given)
        self.size += len(given.data or b"")

    def remember(self, name: str, field: str, data: bytes | None) -> None:
        """Add what a node remembers from now on in a field of a hash."""
        self.states.setdefault(name, {})[field] = data
        self.size += len(data or b"")

    def count(self, name: str, increment: int = 1) -> None:
        """Add to a count of the job."""
        self.counts[name] += increment

    def add(self, other: Results) -> None:
        """Add all that others are."""
        for queue, lot in other.pushes.items():
            self.pushes.setdefault(queue, Ready()).extend(lot)
        for queue, waiting in other.later.items():
            self.later.setdefault(queue, []).extend(waiting)
        self.dead += other.dead
        self.given += other.given
        self.gathered += other.gathered
        self.refused += other.refused
        for name, increment in other.counts.items():
            self.counts[name] += increment
        self.marks.update(other.marks)
        for name, changes in other.states.items():
            self.states.setdefault(name, {}).update(changes)
        self.progress.update(other.progress)
        self.size += other.size

    def take(self) -> Results:
        """All of it; here nothing is left."""
        taken = evolve(self)
        fresh = Results()
        for each in fields(Results):
            setattr(self, each.name, getattr(fresh, each.name))
        return taken

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to commit."""
        return self == _NOTHING

    @property
    def number(self) -> int:
        """How many values and parts there are."""
        return sum(map(len, self.pushes.values())) + len(self.given) + len(self.dead)


_NOTHING = Results()


def is_enveloped(data: Any) -> bool:
    """Whether this is an item of a channel, as `enveloped` made it."""
    if not isinstance(data, dict) or not isinstance(data.get("id"), str) or not isinstance(data.get("key", ""), str):
        return False
    if len(data) != 2 + ("key" in data):
        return False
    return "value" in data or isinstance(data.get("branches"), dict) or data.get("absent") in _ABSENT


_ABSENT = frozenset(each.value for each in (Absent.SKIPPED, Absent.FAILED))


def enveloped(channel: Channel | None, item_id: str, outcome: Outcome) -> Any:
    """What a writer pushes; None when it has nothing to push.

    Args:
        channel: the channel that its queue belongs to, or None when others read it: then the bare value goes there.
        item_id: the item's id.
        outcome: what the source gave.
    """
    if channel is None:
        return None if isinstance(outcome, Absent) else outcome
    if isinstance(outcome, Branches):
        taken = channel.branches or ()
        branches = {name: value for name, value in outcome.values.items() if name in taken}
        outcome = Branches(branches) if branches else Absent.SKIPPED
    elif not channel.takes_value and not isinstance(outcome, Absent):
        outcome = Absent.SKIPPED
    if isinstance(outcome, Absent) and not channel.tells_absence:
        return None
    return {"id": item_id, **kept_outcome(outcome)}


def dead_letter(
    work: dict[str, Any], node: str, error: Mapping[str, Any], attempt: int, *, loop: str, job: str
) -> dict[str, Any]:
    """The record of an item on which a node raised, from which it can be gone on with.

    Args:
        work: what is left to be done, as it is kept.
        node: the node.
        error: what it raised, as it is kept.
        attempt: how often it was tried.
        loop: the name of its loop.
        job: the job's id.
    """
    return {
        **work,
        "node": node,
        "loop": loop,
        "job": job,
        "attempt": attempt,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "error": dict(error),
    }


def error_record(error: BaseException) -> dict[str, str]:
    """An error as it is kept."""
    return {
        "type": type(error).__qualname__,
        "message": clean(safe_text(str, error)),
        "traceback": clean(user_trace(error)),
    }


def with_more(error: Mapping[str, Any], more: str) -> dict[str, Any]:
    """The record of an error, and why nothing else came of it than a dead letter."""
    return {**error, **{part: f"{error[part]}\n({more})" for part in ("message", "traceback")}}


def foreign_letter(letter: DeadLetter, reader: NodeSpec) -> dict[str, Any]:
    """The record of an item that a reader could not take in.

    Args:
        letter: what lies in the dead letters of its queue.
        reader: the reader.
    """
    return _refused(letter, letter.id, reader.id, reader.loop, str(reader.target.queue), "PayloadError")


def own_letter(letter: DeadLetter, loop: str, nodes: Mapping[str, NodeSpec]) -> dict[str, Any]:
    """The record of an item on which a node of a loop raised, or which the loop could not go on with.

    Args:
        letter: what lies in the dead letters of the loop's queue.
        loop: the loop's name.
        nodes: all nodes of the graph.
    """
    data = letter.value
    if isinstance(data, Mapping) and "error" in data:
        return {"letter": letter.id, **shown_letter(data, letter.error, nodes)}
    notice = data if isinstance(data, Mapping) else {}
    item, node = str(notice.get("item", letter.id)), str(notice.get("join", ""))
    return _refused(letter, item, node, loop, loop_queue(loop), "Refused")


def _refused(letter: DeadLetter, item: str, node: str, loop: str, queue: str, kind: str) -> dict[str, Any]:
    return {
        "letter": letter.id,
        "item": item,
        "node": node,
        "loop": loop,
        "job": "",
        "attempt": letter.attempt,
        "at": letter.at.isoformat(timespec="milliseconds"),
        "input": {queue: {"repr": repr(letter.raw)} if letter.raw else letter.value},
        "error": {"type": kind, "message": clean(letter.error), "traceback": ""},
    }


def shown_letter(
    data: Mapping[str, Any], refused: str = "", nodes: Mapping[str, NodeSpec] = MappingProxyType({})
) -> dict[str, Any]:
    """A dead letter as it is shown: with the input that the error came of, or what had come into the loop.

    Args:
        data: the letter.
        refused: why it could not be gone on with, when it was requeued.
        nodes: all nodes of the graph, to name those that what came in is from.
    """
    error = data["error"] if not refused else {**data["error"], "type": "Refused", "message": refused}
    first: Mapping[str, Any] = next(iter(data["run"]), {})
    return {
        "item": data["item"],
        "node": data["node"],
        "loop": data["loop"],
        "job": data["job"],
        "attempt": data.get("attempt", 1),
        "at": data["at"],
        "input": first.get("input", {}) if first else _given(data["kept"], nodes),
        "error": error,
    }


def _given(kept: Mapping[str, Any], nodes: Mapping[str, NodeSpec]) -> dict[str, Any]:
    """The values that came into a loop, by the node that gave them."""
    found = {}
    for node, data in kept.items():
        outcome = outcome_of(data)
        if not isinstance(outcome, Absent):
            giver = origin(nodes, Edge(node)).id if node in nodes else node
            found[giver] = dict(outcome.values) if isinstance(outcome, Branches) else outcome
    return found


def in_words(value: Any) -> dict[str, str]:
    """What stands in a dead letter for a value that can't be kept."""
    return {"repr": clean(safe_text(repr, value))[:_MOST_WORDS]}


def clean(text: str) -> str:
    """A text that UTF-8 can hold."""
    return text.encode(errors="backslashreplace").decode()
