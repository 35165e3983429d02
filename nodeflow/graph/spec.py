"""What a graph knows of one node: its kind, its ports and what is wired into them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

from attrs import field, frozen

from nodeflow.graph.kinds import Node
from nodeflow.graph.location import Location
from nodeflow.graph.names import innermost
from nodeflow.graph.options import Options
from nodeflow.graph.roles import Kind, method_of
from nodeflow.graph.uses import attributes_of


def _read_only(inputs: Mapping[str, Edge | Constant]) -> Mapping[str, Edge | Constant]:
    return MappingProxyType(dict(inputs))


@frozen
class Port:
    """An input of a node.

    Args:
        name: the parameter's name.
        required: whether the parameter has no default.
        positional: whether the parameter can be given by position only.
        by_name: whether the parameter can be given by name only.
        takes_ref: whether it wants the handle of a value, a `RefValue`, and not the value.
    """

    name: str
    required: bool = True
    positional: bool = False
    by_name: bool = False
    takes_ref: bool = False


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
        options: what `@node(…)` said.
    """

    id: str
    target: Any
    kind: Kind
    loop: str
    ports: tuple[Port, ...]
    inputs: Mapping[str, Edge | Constant] = field(factory=dict, converter=_read_only)
    context_port: str | None = None
    fans_out: bool = False
    location: Location | None = None
    options: Options = field(factory=Options)

    @cached_property
    def edges(self) -> Mapping[str, Edge]:
        """The ports that take a node's output."""
        found = {port: source for port, source in self.inputs.items() if isinstance(source, Edge)}
        return MappingProxyType(found)

    @cached_property
    def constants(self) -> Mapping[str, Any]:
        """The ports that take a constant, with its value."""
        found = {port: source.value for port, source in self.inputs.items() if isinstance(source, Constant)}
        return MappingProxyType(found)

    @cached_property
    def required(self) -> frozenset[str]:
        """The ports that must have a value."""
        return frozenset(port.name for port in self.ports if port.required)

    @cached_property
    def ref_ports(self) -> frozenset[str]:
        """The ports that want the handle of a value."""
        return frozenset(port.name for port in self.ports if port.takes_ref)

    @cached_property
    def positional(self) -> tuple[str, ...]:
        """The ports whose parameters can't be given by name."""
        return tuple(port.name for port in self.ports if port.positional)

    @property
    def is_head(self) -> bool:
        """Whether it feeds its loop."""
        return self.kind in (Kind.PRODUCER, Kind.READER)

    @cached_property
    def has_finish(self) -> bool:
        """Whether it has something to do when its loop's input is used up."""
        return isinstance(self.target, Node) and type(self.target).finish is not Node.finish

    @property
    def takes_context(self) -> bool:
        """Whether it may remember something, or push to other queues."""
        return self.context_port is not None or self.has_finish

    @cached_property
    def uses_state(self) -> bool:
        """Whether its own code asks for `ctx.state`."""
        code = getattr(innermost(self.function), "__code__", None)
        return self.context_port is not None and code is not None and "state" in attributes_of(code, self.context_port)

    @cached_property
    def function(self) -> Callable[..., Any]:
        """What is called for each item."""
        return method_of(self.target)
