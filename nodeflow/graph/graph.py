"""Graph: nodes are added to loops and wired as they are added."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar, overload

from attrs import field, frozen

from nodeflow.errors import GraphError
from nodeflow.graph.kinds import LogicalNode, Node, ProducerNode, QueueHead, QueueTail
from nodeflow.graph.location import Location, caller
from nodeflow.graph.options import options_of
from nodeflow.graph.spec import Constant, Edge, Kind, NodeSpec, Port, describe

T = TypeVar("T")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

MAIN = "main"
"""The loop of the nodes that are added outside `graph.loop(…)`."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class _Executes(Protocol[R_co]):
    def execute(self, *args: Any, **kwargs: Any) -> R_co: ...


_Many = Callable[..., AsyncIterator[R]] | Callable[..., Iterator[R]] | Callable[..., Coroutine[Any, Any, R]]
_ExecutesMany = _Executes[AsyncIterator[R]] | _Executes[Iterator[R]] | _Executes[Coroutine[Any, Any, R]]


@frozen
class Output(Generic[R_co]):
    """What a node gives, to be wired into further nodes; `graph.add(…)` returns it.

    Args:
        graph: the graph that the node belongs to.
        node: the node's id.
        of_branch: the branch that this is, of a logical node.
    """

    graph: Graph = field(repr=False)
    node: str
    of_branch: str | None = None

    def branch(self, name: str) -> Output[R_co]:
        """One branch of a logical node.

        Raises:
            GraphError: the node isn't a logical one, or this is a branch already.
        """
        if self.of_branch is not None or self.graph.nodes[self.node].kind is not Kind.LOGICAL:
            raise GraphError(f"{self.node!r} has no branches: only a LogicalNode has", str(caller()))
        if not isinstance(name, str) or not name:
            raise GraphError(f"a branch's name must be a str that isn't empty, not {name!r}", str(caller()))
        return Output(self.graph, self.node, name)


@frozen
class Loop:
    """Nodes that run together in one process, or in each of several.

    Args:
        name: unique in the graph.
        processes: how many processes share its items.
    """

    name: str
    processes: int = 1


class Graph:
    """Nodes and what flows between them.

    Args:
        name: letters, digits, `_`, `-` and `.`; it stands in the names of all keys of the graph.

    Raises:
        GraphError: the name can't be one.
    """

    def __init__(self, name: str) -> None:
        self.location = caller()
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise GraphError(
                f"graph name {name!r}: letters, digits, '_', '-' and '.' make a name, a letter or digit first",
                str(self.location),
            )
        self.name = name
        self._nodes: dict[str, NodeSpec] = {}
        self._loops: dict[str, Loop] = {}
        self._open: str | None = None

    def __repr__(self) -> str:
        return f"<Graph {self.name!r}: {len(self._nodes)} nodes in {len(self._loops)} loops>"

    @property
    def nodes(self) -> Mapping[str, NodeSpec]:
        """The nodes by id; each stands behind those whose output it takes."""
        return MappingProxyType(self._nodes)

    @property
    def loops(self) -> Mapping[str, Loop]:
        """The loops by name."""
        return MappingProxyType(self._loops)

    @contextmanager
    def loop(self, name: str, processes: int | None = None) -> Iterator[Loop]:
        """Put the nodes that are added within into a loop; a second time with the same name re-opens it.

        Args:
            name: as a graph's name.
            processes: how many processes share the loop's items; 1 unless said.

        Raises:
            GraphError: another loop is open, or the loop has another number of processes already.
        """
        where = str(caller())
        if self._open is not None:
            raise GraphError(f"loop {name!r} can't be opened within loop {self._open!r}: loops don't nest", where)
        self._declare(name, processes, where)
        self._open = name
        try:
            yield self._loops[name]
        finally:
            self._open = None

    @overload
    def add(
        self, node: ProducerNode[T] | LogicalNode[T], /, *inputs: Any, id: str | None = None, **ports: Any
    ) -> Output[T]: ...
    @overload
    def add(self, node: QueueHead | QueueTail, /, *inputs: Any, id: str | None = None, **ports: Any) -> Output[Any]: ...
    @overload
    def add(
        self, node: _Many[R] | _ExecutesMany[R], /, *inputs: Any, id: str | None = None, **ports: Any
    ) -> Output[R]: ...
    @overload
    def add(
        self, node: Callable[..., R] | _Executes[R], /, *inputs: Any, id: str | None = None, **ports: Any
    ) -> Output[R]: ...
    def add(self, node: Any, /, *inputs: Any, id: str | None = None, **ports: Any) -> Output[Any]:  # noqa: A002
        """Add a node and wire its inputs.

        Args:
            node: a function, or an instance of a node class.
            inputs: what its parameters take, in their order: outputs of other nodes, or constants.
            id: its id; by default the function's or class's name in snake_case, made unique.
            ports: what its parameters take, by name.

        Returns:
            what the node gives, to be wired into further nodes.

        Raises:
            GraphError: at the line that is wrong: unknown or missing port, duplicate id, an output of another
                graph, a cycle over loops.
        """
        where = caller()
        try:
            spec = self._spec(node, inputs, ports, id, where)
            self._check_cycle(spec)
        except GraphError as error:
            raise GraphError(error.problem, str(where)) from error.__cause__
        self._loops.setdefault(spec.loop, Loop(spec.loop))
        self._nodes[spec.id] = spec
        return Output(self, spec.id)

    def with_nodes(self, nodes: Iterable[NodeSpec]) -> Graph:
        """A copy with other nodes, for a post-processor.

        Args:
            nodes: all nodes, each behind those whose output it takes.

        Raises:
            GraphError: a node takes the output of one that doesn't stand before it.
        """
        copy = Graph(self.name)
        copy.location, copy._loops = self.location, dict(self._loops)
        for spec in nodes:
            unknown = [edge.source for edge in spec.edges.values() if edge.source not in copy._nodes]
            if unknown:
                raise GraphError(f"node {spec.id!r} takes {unknown[0]!r}, which doesn't stand before it")
            copy._nodes[spec.id] = spec
        return copy

    def to_json(self) -> str:
        """The graph as JSON text: loops, and nodes with what is wired into them."""
        from nodeflow.graph.drawing import to_json

        return to_json(self)

    def to_mermaid(self) -> str:
        """The graph as the text of a Mermaid flowchart, a box for each loop."""
        from nodeflow.graph.drawing import to_mermaid

        return to_mermaid(self)

    def _declare(self, name: str, processes: int | None, where: str) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise GraphError(f"loop name {name!r}: letters, digits, '_', '-' and '.' make a name", where)
        if processes is not None and (isinstance(processes, bool) or not isinstance(processes, int) or processes < 1):
            raise GraphError(f"loop {name!r}: processes must be a whole number from 1 on, not {processes!r}", where)
        known = self._loops.setdefault(name, Loop(name, processes or 1))
        if processes not in (None, known.processes):
            raise GraphError(f"loop {name!r} has {known.processes} processes already, not {processes}", where)

    def _spec(
        self, target: Any, inputs: tuple[Any, ...], ports: dict[str, Any], given_id: str | None, where: Location
    ) -> NodeSpec:
        kind, declared, context_port, fans_out = describe(target)
        if isinstance(target, Node) and any(known.target is target for known in self._nodes.values()):
            raise GraphError(f"{target!r} is a node of this graph already: add another instance")
        node_id = self._id(target, given_id)
        wired = _wire(node_id, kind, declared, inputs, ports)
        sources = {port: self._source(node_id, kind, port, value) for port, value in wired.items()}
        if kind is Kind.BLOCKING and not isinstance(target, Node):
            kind = Kind.BLOCKING if any(isinstance(source, Edge) for source in sources.values()) else Kind.PRODUCER
        return NodeSpec(node_id, target, kind, self._open or MAIN, declared, sources, context_port, fans_out, where)

    def _id(self, target: Any, given: str | None) -> str:
        if given is not None:
            if not isinstance(given, str) or not _ID.fullmatch(given):
                raise GraphError(f"id {given!r}: letters, digits, '_' and '-' make an id, a letter first")
            if given in self._nodes:
                raise GraphError(f"id {given!r} is taken by the node at {self._nodes[given].location}")
            return given
        wanted = options_of(target).id or _snake_case(_name_of(target))
        number, found = 1, wanted
        while found in self._nodes:
            number += 1
            found = f"{wanted}_{number}"
        return found

    def _source(self, node_id: str, kind: Kind, port: str, value: Any) -> Edge | Constant:
        if kind is Kind.READER and not (isinstance(value, Output) and self._is_writer(value)):
            raise GraphError(f"the reader {node_id!r} takes a QueueWriter of another loop, not {value!r}")
        if not isinstance(value, Output):
            parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
            if any(isinstance(part, Output) for part in parts):
                raise GraphError(
                    f"port {port!r} of {node_id!r} takes one output, not several in a {type(value).__name__}"
                )
            return Constant(value)
        if value.graph is not self:
            raise GraphError(
                f"port {port!r} of {node_id!r} takes {value.node!r} of another graph, {value.graph.name!r}"
            )
        if self._is_writer(value) and kind is not Kind.READER:
            raise GraphError(f"{value.node!r} writes to a queue: only a QueueReader takes it, not {node_id!r}")
        if value.of_branch is None and self._nodes[value.node].kind is Kind.LOGICAL:
            raise GraphError(
                f"port {port!r} of {node_id!r} takes the logical node {value.node!r}: name one of its branches, "
                f"{value.node}.branch(…)"
            )
        return Edge(value.node, value.of_branch)

    def _is_writer(self, output: Output[Any]) -> bool:
        return output.graph is self and self._nodes[output.node].kind is Kind.WRITER

    def _check_cycle(self, spec: NodeSpec) -> None:
        feeds: dict[str, set[str]] = {}
        for known in (*self._nodes.values(), spec):
            for edge in known.edges.values():
                feeds.setdefault(self._nodes[edge.source].loop, set()).add(known.loop)
        for source in {self._nodes[edge.source].loop for edge in spec.edges.values()} - {spec.loop}:
            if way := _way(feeds, spec.loop, source):
                raise GraphError(
                    f"node {spec.id!r} closes a cycle of loops: {' → '.join((*way, spec.loop))}; "
                    "put it into a loop of its own"
                )


def _wire(
    node_id: str, kind: Kind, declared: tuple[Port, ...], inputs: tuple[Any, ...], ports: dict[str, Any]
) -> dict[str, Any]:
    names = [port.name for port in declared]
    takes = f"its ports are {', '.join(names)}" if names else "it has no ports"
    if kind is Kind.PRODUCER and (inputs or ports):
        raise GraphError(f"{node_id!r} is a producer, which heads a loop and takes no inputs")
    if len(inputs) > len(names):
        raise GraphError(f"{node_id!r} takes no {len(inputs)} inputs by position: {takes}")
    wired = dict(zip(names, inputs, strict=False))
    for port, value in ports.items():
        if port not in names:
            raise GraphError(f"{node_id!r} has no port {port!r}: {takes}")
        if port in wired:
            raise GraphError(f"port {port!r} of {node_id!r} is wired twice: by position and by name")
        wired[port] = value
    missing = [port.name for port in declared if port.required and port.name not in wired]
    if missing:
        raise GraphError(f"{node_id!r} needs an input for {', '.join(map(repr, missing))}: {takes}")
    return wired


def _way(feeds: Mapping[str, set[str]], start: str, end: str) -> tuple[str, ...] | None:
    """A way over loops from start to end, both included."""
    ways: list[tuple[str, ...]] = [(start,)]
    seen = {start}
    while ways:
        way = ways.pop()
        if way[-1] == end:
            return way
        ways += [(*way, after) for after in sorted(feeds.get(way[-1], set()) - seen)]
        seen |= feeds.get(way[-1], set())
    return None


def _name_of(target: Any) -> str:
    while isinstance(target, partial):
        target = target.func
    name = getattr(target, "__name__", None) or type(target).__name__
    return "lambda" if name == "<lambda>" else str(name)


def _snake_case(name: str) -> str:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"[^A-Za-z0-9_]", "_", spaced).lower() or "node"
