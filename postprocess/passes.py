"""What a pass is, and how passes are applied."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from nodeflow.graph import Graph


class Pass(Protocol):
    """A post-processor: looks at a finished graph, or makes another of it.

    Applied twice it gives what it gives applied once.
    """

    def apply(self, graph: Graph) -> Graph:
        """The graph that goes on; the one that was given is left as it is."""
        ...


def apply_passes(graph: Graph, passes: Iterable[Pass]) -> Graph:
    """Apply passes one after the other.

    Raises:
        GraphError: what a pass refuses.
    """
    for each in passes:
        graph = each.apply(graph)
    return graph
