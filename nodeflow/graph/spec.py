"""What a graph knows of one node: its kind, its ports and what is wired into them."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from attrs import field, frozen

from nodeflow.errors import GraphError
from nodeflow.graph.context import Context
from nodeflow.graph.kinds import (
    BlockingNode,
    LogicalNode,
    Node,
    NonBlockingNode,
    ProducerNode,
    QueueHead,
    QueueTail,
)
from nodeflow.graph.location import Location


class Kind(enum.StrEnum):
    """What part a node plays in its loop."""

    PRODUCER = "producer"
    BLOCKING = "blocking"
    NON_BLOCKING = "non-blocking"
    LOGICAL = "logical"
    READER = "reader"
    WRITER = "writer"


_METHODS: dict[type[Node], tuple[Kind, str]] = {
    ProducerNode: (Kind.PRODUCER, "produce"),
    BlockingNode: (Kind.BLOCKING, "execute"),
    NonBlockingNode: (Kind.NON_BLOCKING, "execute"),
    LogicalNode: (Kind.LOGICAL, "choose"),
}


@frozen
class Port:
    """An input of a node.

    Args:
        name: the parameter's name.
        required: whether the parameter has no default.
        positional: whether the parameter can't be given by name.
    """

    name: str
    required: bool = True
    positional: bool = False


@frozen
class Edge:
    """What a port takes: the output of a node, or one branch of it."""

    source: str
    branch: str | None = None


@frozen
class Constant:
    """What a port takes: always the same value."""

    value: Any


@frozen
class NodeSpec:
    """One node of a graph.

    Args:
        id: unique in the graph.
        target: the function, or the instance of a node class.
        kind: what part it plays.
        loop: the name of its loop.
        ports: its inputs, in the order of its parameters.
        inputs: what is wired into them, by port.
        context_port: the parameter that takes the context, if any.
        fans_out: whether it is a generator, so that what follows runs once for each of its values.
        location: where it was added.
    """

    id: str
    target: Any
    kind: Kind
    loop: str
    ports: tuple[Port, ...]
    inputs: Mapping[str, Edge | Constant] = field(factory=dict)
    context_port: str | None = None
    fans_out: bool = False
    location: Location | None = None

    @property
    def edges(self) -> dict[str, Edge]:
        """The ports that take a node's output."""
        return {port: source for port, source in self.inputs.items() if isinstance(source, Edge)}

    @property
    def constants(self) -> dict[str, Any]:
        """The ports that take a constant, with its value."""
        return {port: source.value for port, source in self.inputs.items() if isinstance(source, Constant)}

    @property
    def is_head(self) -> bool:
        """Whether it feeds its loop."""
        return self.kind in (Kind.PRODUCER, Kind.READER)

    @property
    def has_finish(self) -> bool:
        """Whether it has something to do when its loop's input is used up."""
        return isinstance(self.target, Node) and type(self.target).finish is not Node.finish

    @property
    def function(self) -> Callable[..., Any]:
        """What is called for each item."""
        return method_of(self.target)


def describe(target: Any) -> tuple[Kind, tuple[Port, ...], str | None, bool]:
    """What can be read off a function or node instance: kind, ports, context port, whether it fans out.

    Raises:
        GraphError: it can't be a node.
    """
    kind, function = kind_of(target), method_of(target)
    if kind in (Kind.READER, Kind.WRITER):
        return kind, (Port("value"),) if kind is Kind.WRITER else (Port("channel", required=False),), None, False
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise GraphError(f"the parameters of {function!r} can't be read: wrap it in a function of your own") from error
    named = [one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    context = next((one.name for one in named if _takes_context(one)), None)
    ports = tuple(
        Port(one.name, one.default is one.empty, one.kind is one.POSITIONAL_ONLY)
        for one in named
        if one.name != context
    )
    if kind is Kind.PRODUCER:
        return kind, (), named[0].name if named else None, True
    return kind, ports, context, _is_generator(function)


def kind_of(target: Any) -> Kind:
    """The part that a function or node instance plays by its type.

    Raises:
        GraphError: it is a class, or no callable and no node.
    """
    if isinstance(target, type):
        raise GraphError(f"{target.__qualname__} is a class: add an instance of it, {target.__qualname__}(…)")
    if isinstance(target, QueueHead | QueueTail):
        return Kind.READER if isinstance(target, QueueHead) else Kind.WRITER
    for base, (kind, _) in _METHODS.items():
        if isinstance(target, base):
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


def _takes_context(parameter: inspect.Parameter) -> bool:
    annotation = parameter.annotation
    if annotation is Context or (isinstance(annotation, str) and annotation.split(".")[-1] == "Context"):
        return True
    return parameter.name == "ctx" and annotation is parameter.empty


def _is_generator(function: Callable[..., Any]) -> bool:
    while isinstance(function, partial):
        function = function.func
    called = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    return inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called)
