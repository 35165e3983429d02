"""The branches of a logical node: those that it says it chooses, and those that other nodes take."""

from __future__ import annotations

import collections.abc
import enum
import functools
import types
import typing
from collections.abc import Hashable, Mapping
from typing import Any

from nodeflow.graph.kinds import LogicalNode
from nodeflow.graph.roles import Kind
from nodeflow.graph.spec import Edge, NodeSpec


def origin(nodes: Mapping[str, NodeSpec], edge: Edge) -> NodeSpec:
    """The node whose values arrive on an edge; the writer or reader where the way ends at one.

    Args:
        nodes: all nodes of the graph.
        edge: the edge.
    """
    spec = nodes[edge.source]
    while spec.kind in (Kind.READER, Kind.WRITER) and spec.edges:
        spec = nodes[next(iter(spec.edges.values())).source]
    return spec


def known_branches(nodes: Mapping[str, NodeSpec], spec: NodeSpec) -> frozenset[str]:
    """The branches that a logical node may choose: those that it says, else those that are taken.

    Args:
        nodes: all nodes of the graph.
        spec: the node.
    """
    said = said_branches(spec.target)
    if said is not None:
        return said
    edges = [edge for each in nodes.values() for edge in each.edges.values() if edge.branch is not None]
    return frozenset(str(edge.branch) for edge in edges if origin(nodes, edge).id == spec.id)


def said_branches(target: Any) -> frozenset[str] | None:
    """The branches that a logical node says it chooses, in `branches` or in what `choose` is annotated to return.

    Returns:
        their names; None where it doesn't say, or where a `Branch` may have any name.
    """
    if not isinstance(target, LogicalNode):
        return None
    if target.branches is not None:
        return frozenset(map(branch_name, target.branches))
    try:
        hint = typing.get_type_hints(type(target).choose).get("return")
    except Exception:  # an annotation that is text may raise anything when it is evaluated
        return None
    return None if hint is None else _names(hint)


def chooses_always(target: Any) -> bool:
    """Whether a logical node is annotated to choose branches, and not None."""
    return _chooses_always(type(target))  # type: ignore[arg-type] # a class is hashable


@functools.cache
def _chooses_always(kind: Hashable) -> bool:
    try:
        hint = typing.get_type_hints(kind.choose).get("return")  # type: ignore[attr-defined] # of a LogicalNode
    except Exception:  # an annotation that is text may raise anything when it is evaluated
        return False
    return hint is not None and bool(_names(hint)) and not _may_be_none(hint)


def _may_be_none(hint: Any) -> bool:
    within = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType, typing.Annotated, typing.Literal):
        return any(each is None or each is type(None) or _may_be_none(each) for each in within)
    return False


def branch_name(choice: Any) -> Any:
    """The name of a branch that is chosen by a member of an enum: its value when that is a str, else its name."""
    if isinstance(choice, enum.Enum):
        return choice.value if isinstance(choice.value, str) else choice.name
    return choice


def _names(hint: Any) -> frozenset[str] | None:
    if hint is type(None):
        return frozenset()
    found, within = typing.get_origin(hint), typing.get_args(hint)
    if found is typing.Literal:
        return frozenset(branch_name(each) for each in within if each is not None)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return frozenset(map(branch_name, hint))
    is_many = isinstance(found, type) and issubclass(found, collections.abc.Collection)
    if found not in (typing.Union, types.UnionType, typing.Annotated) and not is_many:
        return None
    parts = [_names(each) for each in (within[:1] if found is typing.Annotated else within) if each is not Ellipsis]
    return frozenset().union(*parts) if all(part is not None for part in parts) else None  # type: ignore[arg-type] # seen
