"""What brings values together again: all children of one parent, or whichever branch was taken."""

from __future__ import annotations

from typing import Any

from nodeflow.graph import BlockingNode, Gatherer


class Collect(Gatherer):
    """Gathers what came of all children of one parent into a list, in order, whichever processes worked on them.

    What was skipped for a child is left out; a parent without children gives an empty list.

    Args:
        missing: what becomes of the parent when what should come of a child lies in the dead letters: "wait" waits
            until it is dealt with, "skip" goes on without it.
    """


_NOTHING: Any = object()


class FirstOf(BlockingNode):
    """Gives whichever of up to eight inputs was produced, the first of them if there are several.

    It takes them by position, as in `graph.add(FirstOf(), cheap, costly)`: two branches of a `LogicalNode` for example.
    """

    def execute(
        self,
        first: Any = _NOTHING,
        second: Any = _NOTHING,
        third: Any = _NOTHING,
        fourth: Any = _NOTHING,
        fifth: Any = _NOTHING,
        sixth: Any = _NOTHING,
        seventh: Any = _NOTHING,
        eighth: Any = _NOTHING,
    ) -> Any:
        """The first of them that was produced."""
        given = (first, second, third, fourth, fifth, sixth, seventh, eighth)
        return next(value for value in given if value is not _NOTHING)
