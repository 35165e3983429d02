"""The one rule of evaluation: which node is ready, skipped, failed or done for an item. No I/O here."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import define, field, frozen

from nodeflow.graph import Branch, Edge, Kind, NodeSpec


@frozen
class Value:
    """A node gave a value."""

    value: Any


@frozen
class Branches:
    """A logical node gave a value on each of these branches, and nothing on the others."""

    values: Mapping[str, Any]


class Absent(enum.Enum):
    """A node gave nothing: it was skipped, or failed, so that what follows it can't run."""

    SKIPPED = "skipped"
    FAILED = "failed"


Outcome = Value | Branches | Absent


def bind(spec: NodeSpec, outcomes: Mapping[str, Outcome]) -> dict[str, Any] | Absent:
    """What a node is called with, by port, or why it isn't.

    A node runs when all of its required ports have a value and, if only optional ones are wired, at least
    one of them has. It fails with what it takes.

    Args:
        spec: the node.
        outcomes: what the nodes before it gave; one that isn't there was skipped.
    """
    if spec.kind is Kind.WRITER:
        outcome = _on_edge(next(iter(spec.edges.values())), outcomes)
        return outcome if isinstance(outcome, Absent) else {"value": outcome}
    arguments = dict(spec.constants)
    missing = []
    for port, edge in spec.edges.items():
        outcome = _on_edge(edge, outcomes)
        if outcome is Absent.FAILED:
            return outcome
        if isinstance(outcome, Value):
            arguments[port] = outcome.value
        else:
            missing.append(port)
    if missing and (len(missing) == len(spec.edges) or not spec.required.isdisjoint(missing)):
        return Absent.SKIPPED
    return arguments


def settled(spec: NodeSpec, arguments: Mapping[str, Any], result: Any) -> Outcome:
    """What a node's result means.

    Args:
        spec: the node.
        arguments: what it was called with.
        result: what it returned.

    Raises:
        TypeError: a logical node chose something that is no branch, or another node gave a `Branch`.
    """
    if spec.kind is not Kind.LOGICAL:
        if isinstance(result, Branch):
            raise TypeError(f"{spec.id!r} gave a Branch: only a LogicalNode chooses branches")
        return Value(result)
    chosen = [] if result is None else result if isinstance(result, list | tuple | set | frozenset) else [result]
    return Branches(dict(_chosen(spec, arguments, each) for each in chosen))


def _chosen(spec: NodeSpec, arguments: Mapping[str, Any], choice: Any) -> tuple[str, Any]:
    if isinstance(choice, Branch):
        return choice.name, choice.value
    if not isinstance(choice, str):
        raise TypeError(f"{spec.id!r} chose {choice!r}: a branch's name is str, or give Branch(name, value)")
    return choice, next((arguments[port.name] for port in spec.ports if port.name in arguments), None)


def _on_edge(edge: Edge, outcomes: Mapping[str, Outcome]) -> Outcome:
    outcome = outcomes.get(edge.source, Absent.SKIPPED)
    if edge.branch is None or isinstance(outcome, Absent):
        return outcome
    if isinstance(outcome, Branches) and edge.branch in outcome.values:
        return Value(outcome.values[edge.branch])
    return Absent.SKIPPED


@frozen
class Task:
    """A node that is ready for an item.

    Args:
        spec: the node.
        item_id: the item's id.
        arguments: what the node is called with, by port.
    """

    spec: NodeSpec
    item_id: str
    arguments: dict[str, Any]


Stages = Mapping[tuple[str, ...], tuple[NodeSpec, ...]]
"""The nodes behind a head by the fan-outs that they stand below, each behind those that it takes from."""


@define
class Evaluation:
    """One item's way through the stage of a loop that stands below the same fan-outs.

    Args:
        stages: the nodes behind the head at which the item came in.
        item_id: the item's id.
        outcomes: what has been given so far, by node.
        level: the fan-outs that the item has gone through.
        parent: that of the item from which this one was fanned out.
    """

    stages: Stages
    item_id: str
    outcomes: dict[str, Outcome]
    level: tuple[str, ...] = ()
    parent: Evaluation | None = field(default=None, repr=False)
    _read: list[tuple[Any, Any]] = field(factory=list, init=False, repr=False)
    _waiting: Iterator[NodeSpec] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._waiting = iter(self.stages.get(self.level, ()))

    def next(self) -> Task | None:
        """The next node that is ready, or None when all of this stage are done, skipped or failed."""
        for spec in self._waiting:
            arguments = bind(spec, self.outcomes)
            if not isinstance(arguments, Absent):
                return Task(spec, self.item_id, arguments)
            self.outcomes[spec.id] = arguments
        return None

    def done(self, task: Task, result: Any) -> None:
        """Note what a node returned."""
        self.outcomes[task.spec.id] = settled(task.spec, task.arguments, result)

    def failed(self, task: Task) -> None:
        """Note that a node raised, so what follows it can't run."""
        self.outcomes[task.spec.id] = Absent.FAILED

    def without(self, task: Task, port: str) -> Task | None:
        """What becomes of a task when what a port took turns out not to be there: perhaps it runs without that."""
        edge = task.spec.edges[port]
        outcome = self.outcomes.get(edge.source, Absent.SKIPPED)
        if isinstance(outcome, Branches):
            left = {name: value for name, value in outcome.values.items() if name != edge.branch}
            self.outcomes[edge.source] = Branches(left)
        else:
            self.outcomes[edge.source] = Absent.SKIPPED
        arguments = bind(task.spec, self.outcomes)
        if isinstance(arguments, Absent):
            self.outcomes[task.spec.id] = arguments
            return None
        return Task(task.spec, task.item_id, arguments)

    def was_read(self, ref: Any) -> Any:
        """The value of a reference that was read before, in a tuple; None when it wasn't."""
        found = next(((value,) for known, value in self._read if known is ref), None)
        return found or (self.parent.was_read(ref) if self.parent is not None else None)

    def note_read(self, ref: Any, value: Any) -> None:
        """Note the value of a reference: with the item that it belongs to, and for as long as that is under way."""
        owner = self
        while owner.parent is not None and owner.parent._holds(ref):
            owner = owner.parent
        owner._read.append((ref, value))

    def _holds(self, ref: Any) -> bool:
        for outcome in self.outcomes.values():
            values = outcome.values.values() if isinstance(outcome, Branches) else [getattr(outcome, "value", None)]
            if any(value is ref for value in values):
                return True
        return False

    def child(self, task: Task, number: int, value: Any) -> Evaluation:
        """The way of one value that a node fanned out."""
        outcomes = self.outcomes | {task.spec.id: Value(value)}
        item_id = f"{self.item_id}.{number}"
        return Evaluation(self.stages, item_id, outcomes, (*self.level, task.spec.id), self)
