"""Graph: nodes are added to loops and wired as they are added."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import Any, Protocol, TypeVar, overload

from nodeflow.errors import GraphError
from nodeflow.graph.cycles import closed_cycle
from nodeflow.graph.describe import describe
from nodeflow.graph.drawing import to_json, to_mermaid
from nodeflow.graph.heeded import check_heeded
from nodeflow.graph.kinds import Gatherer, LogicalNode, Node, ProducerNode, QueueHead, QueueTail
from nodeflow.graph.location import Location, caller, errors_at
from nodeflow.graph.loop import MAIN, By, Loop, declared
from nodeflow.graph.names import check_id, check_name, default_id, free_id
from nodeflow.graph.options import options_of
from nodeflow.graph.output import Output
from nodeflow.graph.roles import Kind
from nodeflow.graph.spec import Edge, NodeSpec
from nodeflow.graph.wiring import Wiring, assign

T = TypeVar("T")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class _Executes(Protocol[R_co]):
    def execute(self, *args: Any, **kwargs: Any) -> R_co: ...


_Many = Callable[..., AsyncIterator[R]] | Callable[..., Iterator[R]] | Callable[..., Coroutine[Any, Any, R]]
_ExecutesMany = _Executes[AsyncIterator[R]] | _Executes[Iterator[R]] | _Executes[Coroutine[Any, Any, R]]


class Graph:
    """Nodes and what flows between them.

    Args:
        name: letters, digits, `_`, `-` and `.`; it stands in the names of all keys of the graph.

    Raises:
        GraphError: the name can't be one.
    """

    def __init__(self, name: str) -> None:
        self.location = caller()
        with errors_at(self.location):
            check_name("graph", name)
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

    def loop(
        self,
        name: str,
        processes: int | None = None,
        *,
        by: By | None = None,
        memory: str | int | None = None,
        stall_timeout: float | None = None,
    ) -> AbstractContextManager[Loop]:
        """Put the nodes that are added within `with graph.loop(…):` into a loop; the same name re-opens it.

        Args:
            name: as a graph's name.
            processes: how many processes share the loop's items; 1 unless said.
            by: what gives an item's key: a field of its value (a key of a dict, or an attribute), or a function of the
                value. Items of one key go through one process, in order, and `ctx.state` may be used in several
                processes: keys are divided into 64 partitions, each with a state of its own, and `finish` is called
                once for each of these.
            memory: how much memory each process may have, in bytes or as in "1GB" (10⁹ bytes; "1GiB" is 2³⁰): in a node
                that wants more, Python raises `MemoryError`, and its item fails. Only Linux keeps to it.
            stall_timeout: for how many seconds a node may hold up the loop, 300 unless said; `math.inf` for ever. One
                that waits for longer, in a coroutine, fails its item; one that blocks its process costs the loop that,
                and fails its item after some times. Producers may wait for their next value for ever.

        Raises:
            GraphError: another loop is open, or the loop has another number of processes, or other limits, already.
        """
        where = caller()
        with errors_at(where):
            self._check_not_open(name)
            said = {"processes": processes, "by": by, "memory": memory, "stall_timeout": stall_timeout}
            loop = self._loops.setdefault(name, declared(name, said, where, self._loops.get(name)))
        return self._within(loop, where)

    @overload
    def add(
        self, node: ProducerNode[T] | LogicalNode[T], /, *inputs: Any, id: str | None = None, **ports: Any
    ) -> Output[T]: ...
    @overload
    def add(self, node: Gatherer, /, *inputs: Any, id: str | None = None, **ports: Any) -> Output[list[Any]]: ...
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
        with errors_at(where):
            spec = self._spec(node, inputs, ports, id, where)
            check_heeded(spec)
            if cycle := closed_cycle(self._nodes, spec):
                raise GraphError(
                    f"node {spec.id!r} closes a cycle of loops, {' → '.join(cycle)}: put it into a loop of its own"
                )
        self._loops.setdefault(spec.loop, Loop(spec.loop, location=where))
        self._nodes[spec.id] = spec
        return Output(self, spec.id)

    def with_nodes(self, nodes: Iterable[NodeSpec]) -> Graph:
        """A copy with other nodes, for a post-processor.

        Args:
            nodes: all nodes, each behind those whose output it takes.

        Raises:
            GraphError: an id stands there twice, or a node takes the output of one that doesn't stand before it.
        """
        copy = Graph(self.name)
        copy.location, copy._loops = self.location, dict(self._loops)
        for spec in nodes:
            if spec.id in copy._nodes:
                raise GraphError(f"a pass gave two nodes the id {spec.id!r}", str(spec.location))
            unknown = [edge.source for edge in spec.edges.values() if edge.source not in copy._nodes]
            if unknown:
                raise GraphError(
                    f"a pass gave node {spec.id!r} the output of {unknown[0]!r}, which doesn't stand before it",
                    str(spec.location),
                )
            copy._loops.setdefault(spec.loop, Loop(spec.loop, location=spec.location))
            copy._nodes[spec.id] = spec
        return copy

    def to_json(self) -> str:
        """The graph as JSON text: loops, and nodes with what is wired into them."""
        return to_json(self)

    def to_mermaid(self) -> str:
        """The graph as the text of a Mermaid flowchart, a box for each loop."""
        return to_mermaid(self)

    @contextmanager
    def _within(self, loop: Loop, where: Location) -> Iterator[Loop]:
        with errors_at(where):
            self._check_not_open(loop.name)
        self._open = loop.name
        try:
            yield loop
        finally:
            self._open = None

    def _check_not_open(self, name: str) -> None:
        if self._open is not None:
            raise GraphError(f"loop {name!r} can't be opened within loop {self._open!r}: put one behind the other")

    def _spec(
        self, target: Any, inputs: tuple[Any, ...], ports: dict[str, Any], given_id: str | None, where: Location
    ) -> NodeSpec:
        about = describe(target)
        kind = about.kind
        self._check_new(target)
        node_id = self._id(target, given_id)
        wiring = Wiring(self, self._nodes, node_id, kind)
        sources = {port: wiring.source(port, value) for port, value in assign(node_id, about, inputs, ports).items()}
        if not isinstance(target, Node) and not any(isinstance(source, Edge) for source in sources.values()):
            kind = Kind.PRODUCER
        loop = self._open or MAIN
        return NodeSpec(
            node_id,
            target,
            kind,
            loop,
            about.ports,
            sources,
            about.context_port,
            about.fans_out,
            where,
            options_of(target),
        )

    def _check_new(self, target: Any) -> None:
        known = next((spec for spec in self._nodes.values() if spec.target is target), None)
        if known is not None and isinstance(target, Node):
            raise GraphError(
                f"this {type(target).__qualname__} is node {known.id!r}, added at {known.location}: "
                "add another instance, or wire that node's output"
            )

    def _id(self, target: Any, given: str | None) -> str:
        if given is None:
            return free_id(options_of(target).id or default_id(target), self._nodes)
        if isinstance(given, Output):
            raise GraphError("id= names the node: wire a port of that name by position, or rename the parameter")
        check_id(given)
        if given in self._nodes:
            raise GraphError(f"id {given!r} is taken by the node at {self._nodes[given].location}: give another")
        return given
