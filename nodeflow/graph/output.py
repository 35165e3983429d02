"""Output: what a node gives, to be wired into further nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar

from attrs import field, frozen

from nodeflow.errors import GraphError
from nodeflow.graph.location import caller
from nodeflow.graph.roles import Kind

if TYPE_CHECKING:
    from nodeflow.graph.graph import Graph

R_co = TypeVar("R_co", covariant=True)


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

    def __iter__(self) -> NoReturn:
        """Refused: a node has one output, whatever it gives for an item.

        Raises:
            GraphError: always.
        """
        raise GraphError(
            f"{self.node!r} has one output, which can't be unpacked: wire it as it is, and take what it gives apart in "
            "the node behind it",
            str(caller()),
        )

    def branch(self, name: str) -> Output[R_co]:
        """One branch of a logical node; or that of a node's errors, as its `on_error=` names it.

        Raises:
            GraphError: the node has no such branch, or this is a branch already.
        """
        where = str(caller())
        if self.of_branch is not None:
            raise GraphError(f"this is branch {self.of_branch!r} of {self.node!r} already: a branch has none", where)
        if not isinstance(name, str) or not name:
            raise GraphError(f"branch name {name!r}: it must be a str that isn't empty", where)
        spec = self.graph.nodes[self.node]
        if spec.kind is not Kind.LOGICAL and name != spec.options.error_branch:
            own = spec.options.error_branch
            if own is not None:
                raise GraphError(f"{self.node!r} has no branch {name!r}, only that of its errors, {own!r}", where)
            raise GraphError(f"{self.node!r} has no branches, as it isn't a LogicalNode: wire it as it is", where)
        return Output(self.graph, self.node, name)
