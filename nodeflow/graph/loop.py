"""Loop: nodes that run together, in how many processes, and how these share the items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from nodeflow.errors import GraphError
from nodeflow.graph.location import Location
from nodeflow.graph.names import check_name, size_in_bytes

MAIN = "main"
"""The loop of the nodes that are added outside `graph.loop(…)`."""

PARTITIONS = 64
"""Into how many parts the items of a loop with `by=` are divided, whatever the number of its processes."""

By = str | Callable[[Any], Any]
"""What says which key an item has: the name of a field of its value, or a function of its value."""


@frozen
class Loop:
    """Nodes that run together in one process, or in each of several.

    Args:
        name: unique in the graph.
        processes: how many processes share its items.
        memory: how many bytes of memory each of them may have; None for no limit.
        by: what gives an item's key: items of one key go through one process, in order; None for any process.
        location: where it was opened first, or got its first node.
    """

    name: str
    processes: int = 1
    memory: int | None = None
    by: By | None = None
    location: Location | None = field(default=None, eq=False)

    @property
    def partitions(self) -> int:
        """In how many parts its nodes remember what they do; each part finishes for itself."""
        return 1 if self.by is None else PARTITIONS

    def check_again(self, processes: int | None, memory: int | None, by: By | None) -> None:
        """Refuse to open it again with other options.

        Raises:
            GraphError: it has others already.
        """
        since = f"since {self.location}"
        if memory not in (None, self.memory):
            raise GraphError(f"loop {self.name!r} has another memory= {since}: say it there, or leave it out")
        if by is not None and by != self.by:
            raise GraphError(f"loop {self.name!r} has by={self.by!r} {since}: say it there, or leave it out")
        if processes not in (None, self.processes):
            raise GraphError(
                f"loop {self.name!r} has processes={self.processes} {since}: "
                f"say processes={processes} there, or leave it out here"
            )


def declared(
    name: str, processes: int | None, memory: str | int | None, by: By | None, where: Location, known: Loop | None
) -> Loop:
    """A loop that is opened, for the first time or again.

    Args:
        name: its name.
        processes: how many there are to be.
        memory: how much each of them may have.
        by: what gives an item's key.
        where: where that is said.
        known: the loop of that name, when there is one already.

    Raises:
        GraphError: an option has no such value, or another one already.
    """
    check_name("loop", name)
    if processes is not None and (isinstance(processes, bool) or not isinstance(processes, int) or processes < 1):
        raise GraphError(f"loop {name!r}: processes must be a whole number from 1 on, not {processes!r}")
    if by is not None and not (isinstance(by, str) and by) and not callable(by):
        raise GraphError(f"loop {name!r}: by= is the name of a field, or a function of a value, not {by!r}")
    limit = None if memory is None else size_in_bytes(f"memory of loop {name!r}", memory)
    if known is not None:
        known.check_again(processes, limit, by)
        return known
    if by is not None and (processes or 1) > PARTITIONS:
        raise GraphError(
            f"loop {name!r}: by= divides items into {PARTITIONS} parts, so more processes had nothing to do"
        )
    return Loop(name, processes or 1, limit, by, where)
