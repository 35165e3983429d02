"""Loop: nodes that run together, in how many processes, and how these share the items."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import field, frozen

from nodeflow.errors import GraphError
from nodeflow.graph.location import Location
from nodeflow.graph.names import check_name, size_in_bytes

MAIN = "main"
"""The loop of the nodes that are added outside `graph.loop(…)`."""

STALL_TIMEOUT = 300.0
"""For how many seconds a node may hold up its loop, unless said otherwise."""

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
        stall_timeout: for how many seconds a node may hold it up.
        by: what gives an item's key: items of one key go through one process, in order; None for any process.
        location: where it was opened first, or got its first node.
    """

    name: str
    processes: int = 1
    memory: int | None = None
    stall_timeout: float = STALL_TIMEOUT
    by: By | None = None
    location: Location | None = field(default=None, eq=False)

    @property
    def partitions(self) -> int:
        """In how many parts its nodes remember what they do; each part finishes for itself."""
        return 1 if self.by is None else PARTITIONS

    def again(self, options: Mapping[str, Any]) -> Loop:
        """The loop, opened again.

        Args:
            options: what is said of it now, by name.

        Raises:
            GraphError: something else was said before.
        """
        for name, value in options.items():
            before = getattr(self, name)
            if value != before:
                raise GraphError(
                    f"loop {self.name!r} has {name}={before!r} since {self.location}: "
                    f"say {name}={value!r} there, or leave it out here"
                )
        return self


def declared(name: str, options: Mapping[str, Any], where: Location, known: Loop | None) -> Loop:
    """A loop that is opened, for the first time or again.

    Args:
        name: its name.
        options: what is said of it, by name; None for what isn't.
        where: where that is said.
        known: the loop of that name, when there is one already.

    Raises:
        GraphError: an option has no such value, or another one already.
    """
    check_name("loop", name)
    said = {option: _checked(name, option, value) for option, value in options.items() if value is not None}
    if known is not None:
        return known.again(said)
    loop = Loop(name, location=where, **said)
    if loop.by is not None and loop.processes > PARTITIONS:
        raise GraphError(
            f"loop {name!r}: by= divides items into {PARTITIONS} parts, so more processes had nothing to do"
        )
    return loop


def _checked(loop: str, option: str, value: Any) -> Any:
    if option == "processes" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise GraphError(f"loop {loop!r}: processes must be a whole number from 1 on, not {value!r}")
    if option == "by" and not (isinstance(value, str) and value) and not callable(value):
        raise GraphError(f"loop {loop!r}: by= is the name of a field, or a function of a value, not {value!r}")
    if option == "stall_timeout" and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
        raise GraphError(f"loop {loop!r}: stall_timeout is a number of seconds above 0, not {value!r}")
    return size_in_bytes(f"memory of loop {loop!r}", value) if option == "memory" else value
