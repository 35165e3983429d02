"""What the ports of a node that is being added take: edges from other nodes, and constants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import ismethod
from typing import Any

from attrs import frozen

from nodeflow.errors import GraphError
from nodeflow.graph.describe import Description
from nodeflow.graph.kinds import Node
from nodeflow.graph.options import is_marked
from nodeflow.graph.output import Output
from nodeflow.graph.roles import Kind
from nodeflow.graph.spec import Constant, Edge, NodeSpec, Port


def assign(node: str, about: Description, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
    """What each port of a node takes.

    Args:
        node: the node's id.
        about: what its ports are.
        inputs: what was given by position.
        named: what was given by name.

    Raises:
        GraphError: unknown or missing port, or one that is wired twice.
    """
    if about.kind is Kind.PRODUCER and (inputs or named):
        raise GraphError(f"{node!r} is a ProducerNode, which takes no inputs: give its instance what it needs")
    takes = _listed(about)
    in_order = [port.name for port in about.ports if not port.by_name]
    if len(inputs) > len(in_order):
        raise GraphError(f"{node!r} takes {len(in_order)} inputs by position, not {len(inputs)}: {takes}")
    wired = dict(zip(in_order, inputs, strict=False))
    for port, value in named.items():
        if not any(port == known.name for known in about.ports):
            raise GraphError(f"{node!r} has no port {port!r}: {takes}")
        if port in wired:
            raise GraphError(f"port {port!r} of {node!r} is wired twice, by position and by name: leave one out")
        wired[port] = value
    missing = [port.name for port in about.ports if port.required and port.name not in wired]
    if missing:
        raise GraphError(f"{node!r} needs an input for {', '.join(map(repr, missing))}: {takes}")
    _check_order(node, about.ports, wired)
    return wired


@frozen
class Wiring:
    """Turns what a port was given into an edge or a constant.

    Args:
        graph: the graph that the node is being added to.
        nodes: the nodes of that graph, by id.
        node: the id of the node that is being added.
        kind: its kind.
    """

    graph: Any
    nodes: Mapping[str, NodeSpec]
    node: str
    kind: Kind

    def source(self, port: str, value: Any) -> Edge | Constant:
        """What a port takes.

        Raises:
            GraphError: it can't take this.
        """
        if not isinstance(value, Output):
            return self._constant(port, value)
        if value.graph is not self.graph:
            raise GraphError(
                f"port {port!r} of {self.node!r} takes {value.node!r} of another graph, {value.graph.name!r}: "
                "add that node to this graph too"
            )
        source = self.nodes[value.node]
        if (source.kind is Kind.WRITER) is not (self.kind is Kind.READER):
            self._refuse_end(port, value)
        if source.kind is Kind.WRITER:
            self._check_unread(source)
        if value.of_branch is None and source.kind is Kind.LOGICAL:
            raise GraphError(
                f"port {port!r} of {self.node!r} takes the logical node {value.node!r}: "
                "name one of its branches, with .branch(…)"
            )
        return Edge(value.node, value.of_branch)

    def _constant(self, port: str, value: Any) -> Constant:
        if self.kind is Kind.READER:
            self._refuse_end(port, value)
        if ismethod(value) and isinstance(value.__self__, Output):
            raise GraphError(f"port {port!r} of {self.node!r} takes a method of an output: call it, .branch(…)")
        is_added = any(value is spec.target for spec in self.nodes.values())
        if is_added or isinstance(value, Node) or (callable(value) and is_marked(value)):
            raise GraphError(
                f"port {port!r} of {self.node!r} takes {value!r} itself, not what it gives: "
                "give it to graph.add(…) first, and wire what that returns"
            )
        if any(isinstance(part, Output) for part in _parts(value)):
            raise GraphError(
                f"port {port!r} of {self.node!r} takes an output within a {type(value).__name__}: "
                "wire each output to a port of its own"
            )
        if self.kind is Kind.WRITER:
            raise GraphError(f"{self.node!r} writes what a node gives: wire it to one, not to the constant {value!r}")
        return Constant(value)

    def _refuse_end(self, port: str, value: Any) -> None:
        if self.kind is Kind.READER:
            raise GraphError(f"{self.node!r} reads a queue: wire it to a QueueWriter of another loop, not to {value!r}")
        raise GraphError(
            f"port {port!r} of {self.node!r} takes {value.node!r}, which writes to a queue: "
            "put a QueueReader between them"
        )

    def _check_unread(self, writer: NodeSpec) -> None:
        reader = next((spec for spec in self.nodes.values() if Edge(writer.id) in spec.edges.values()), None)
        if reader is not None:
            raise GraphError(
                f"writer {writer.id!r} has a reader already, {reader.id!r} at {reader.location}: "
                "add a QueueWriter for each QueueReader"
            )


def _listed(about: Description) -> str:
    names = [f"{port.name} (by name only)" if port.by_name else port.name for port in about.ports]
    listed = f"its ports are {', '.join(names)}" if names else "it has no ports"
    return f"{listed} (a parameter with '*' makes none)" if about.variable else listed


def _check_order(node: str, ports: tuple[Port, ...], wired: Mapping[str, Any]) -> None:
    """Python can't leave out an argument that is given by position only, and give one behind it."""
    optional: str | None = None
    for port in (port for port in ports if port.positional):
        if optional and port.name in wired:
            raise GraphError(
                f"port {port.name!r} of {node!r} can't be given without {optional!r}, which may be left out: "
                f"give {optional!r} a constant, or wrap the function in one of yours with named parameters"
            )
        if not port.required and (port.name not in wired or isinstance(wired[port.name], Output)):
            optional = port.name


def _parts(value: Any) -> Iterator[Any]:
    """Everything within nested lists, tuples, sets and dicts."""
    open_ones, seen = [value], set()
    while open_ones:
        each = open_ones.pop()
        if id(each) in seen or not isinstance(each, dict | list | tuple | set | frozenset):
            continue
        seen.add(id(each))
        for part in each.values() if isinstance(each, dict) else each:
            yield part
            open_ones.append(part)
