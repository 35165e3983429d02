"""The one rule of evaluation: what a node is called with, and what its result means. No I/O here."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen

from nodeflow.errors import ChoiceError
from nodeflow.graph import Branch, Kind, NodeSpec, branch_name, chooses_always


class Absent(enum.Enum):
    """Why a node gave nothing for an item, so that what needs it can't run."""

    SKIPPED = "skipped"
    FAILED = "failed"
    WAITING = "waiting"
    """It will be tried again later."""


@frozen
class Branches:
    """A node gave a value on each of these branches, and nothing on the others."""

    values: Mapping[str, Any]


Outcome = Any
"""What a node gave: the value itself, or `Branches`, or `Absent`."""

Source = tuple[str, int, str | None]
"""A port, the place of the outcome that it takes, and the branch of it."""


def bind(sources: Iterable[Source], required: frozenset[str], outcomes: Sequence[Outcome]) -> dict[str, Any] | Absent:
    """What a node is called with, by port, constants left out; or why it isn't called.

    A node runs when all of its required ports have a value and, if only optional ones are wired, at least
    one of them has. It fails, or waits, with what it takes.

    Args:
        sources: what its ports take.
        required: the ports that must have a value.
        outcomes: what the nodes before it gave, each at its place.
    """
    given: dict[str, Any] = {}
    missing = []
    worst = None
    for port, place, branch in sources:
        outcome = on_branch(outcomes[place], branch)
        if outcome is Absent.SKIPPED:
            missing.append(port)
        elif outcome is Absent.WAITING or outcome is Absent.FAILED:
            worst = Absent.WAITING if Absent.WAITING in (worst, outcome) else Absent.FAILED
        else:
            given[port] = outcome
    if worst is not None:
        return worst
    if missing and (not given or not required.isdisjoint(missing)):
        return Absent.SKIPPED
    return given


def on_branch(outcome: Outcome, branch: str | None) -> Outcome:
    """What an edge takes of an outcome."""
    if isinstance(outcome, Absent):
        return outcome
    if isinstance(outcome, Branches):
        return outcome.values.get(branch, Absent.SKIPPED) if branch is not None else Absent.SKIPPED
    return outcome if branch is None else Absent.SKIPPED


def settled(
    spec: NodeSpec, arguments: Mapping[str, Any], result: Any, branches: frozenset[str] = frozenset()
) -> Outcome:
    """What a node's result means.

    Args:
        spec: the node.
        arguments: what it was called with.
        result: what it returned.
        branches: those that a logical node may choose; empty for any.

    Raises:
        ChoiceError: a logical node chose something that is no branch of it, or another node gave a `Branch`.
    """
    if spec.kind is not Kind.LOGICAL:
        if isinstance(result, Branch):
            raise ChoiceError(f"{spec.id!r} gave a Branch: only a LogicalNode chooses branches")
        return result
    if result is None and chooses_always(spec.target):
        raise ChoiceError(
            f"{spec.id!r} chose None, though `choose` is annotated to give a branch: add `| None` if it may choose none"
        )
    chosen = [] if result is None else result if isinstance(result, list | tuple | set | frozenset) else [result]
    found = dict(_chosen(spec, arguments, each) for each in chosen)
    if branches and (unknown := found.keys() - branches):
        known = ", ".join(map(repr, sorted(branches)))
        raise ChoiceError(
            f"{spec.id!r} chose the branch {min(unknown)!r}, which it doesn't have: its branches are {known}. One that "
            "nobody takes must be in the class's `branches`; to choose none, return None"
        )
    return Branches(found)


def _chosen(spec: NodeSpec, arguments: Mapping[str, Any], choice: Any) -> tuple[str, Any]:
    choice = branch_name(choice)
    if isinstance(choice, Branch):
        return choice.name, choice.value
    if not isinstance(choice, str):
        raise ChoiceError(f"{spec.id!r} chose {choice!r}: a branch's name is str, or give Branch(name, value)")
    return choice, next((arguments[port.name] for port in spec.ports if port.name in arguments), None)
