"""What part a node plays by its type, and which of its methods is called for each item."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

from nodeflow.errors import GraphError
from nodeflow.graph.kinds import (
    BlockingNode,
    Gatherer,
    LogicalNode,
    Node,
    NonBlockingNode,
    ProducerNode,
    QueueHead,
    QueueTail,
)


class Kind(enum.StrEnum):
    """What part a node plays in its loop."""

    PRODUCER = "producer"
    BLOCKING = "blocking"
    NON_BLOCKING = "non-blocking"
    LOGICAL = "logical"
    COLLECT = "collect"
    READER = "reader"
    WRITER = "writer"


_METHODS: dict[type[Node], tuple[Kind, str]] = {
    ProducerNode: (Kind.PRODUCER, "produce"),
    BlockingNode: (Kind.BLOCKING, "execute"),
    NonBlockingNode: (Kind.NON_BLOCKING, "execute"),
    LogicalNode: (Kind.LOGICAL, "choose"),
}


def kind_of(target: Any) -> Kind:
    """The part that a function or node instance plays by its type.

    Raises:
        GraphError: it is a class, no callable and no node, or a node that lacks its method.
    """
    if isinstance(target, type):
        name = target.__qualname__
        function = "" if issubclass(target, Node) else ", or a function that makes one"
        raise GraphError(f"{name} is a class: add an instance, {name}(…){function}")
    if isinstance(target, QueueHead | QueueTail):
        return Kind.READER if isinstance(target, QueueHead) else Kind.WRITER
    if isinstance(target, Gatherer):
        return Kind.COLLECT
    for base, (kind, method) in _METHODS.items():
        if isinstance(target, base):
            _check_written(target, base, method)
            return kind
    if not callable(target) or isinstance(target, Node):
        raise GraphError(
            f"{target!r} is no node: add a function, or an instance of a ProducerNode, BlockingNode, "
            "NonBlockingNode or LogicalNode"
        )
    return Kind.BLOCKING


def method_of(target: Any) -> Callable[..., Any]:
    """What is called for each item: the function itself, or the method of a node instance."""
    for base, (_, method) in _METHODS.items():
        if isinstance(target, base):
            function: Callable[..., Any] = getattr(target, method)
            return function
    called: Callable[..., Any] = target
    return called


def _check_written(target: Node, base: type[Node], method: str) -> None:
    if getattr(getattr(target, method), "__func__", None) is getattr(base, method):
        raise GraphError(f"{type(target).__qualname__} is a {base.__name__} without a method {method}(): write it")
