"""In development mode: in which partition of a loop with `by=` each item is."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from nodeflow.engine.core.evaluation import Absent, Branches, Outcome
from nodeflow.engine.core.partitioning import Partitioning
from nodeflow.engine.stepping.kept import KeptOutput
from nodeflow.graph import Graph, NodeSpec
from nodeflow.values import RefValue


@frozen
class Partitions:
    """The partitions of the items that a node runs on.

    Args:
        partitioning: how the loop's items are divided; None when they are not.
        known: those of the items of sources in the same loop, by source and the item's id.
    """

    partitioning: Partitioning | None
    known: Mapping[str, Mapping[str, int]]

    @classmethod
    def of(cls, graph: Graph, spec: NodeSpec, kept: Mapping[str, KeptOutput]) -> Partitions:
        """Those of a node's items."""
        partitioning = Partitioning.of(graph.loops[spec.loop])
        sources = {edge.source for edge in spec.edges.values() if graph.nodes[edge.source].loop == spec.loop}
        found = {source: {item.id: item.partition for item in kept[source].items or ()} for source in sources}
        return cls(partitioning, found if partitioning is not None else {})

    async def of_item(self, item: str, outcomes: Mapping[str, Outcome]) -> int:
        """The partition of an item.

        Args:
            item: its id.
            outcomes: what its sources gave for it.

        Raises:
            KeyMissingError: it has no key.
        """
        if self.partitioning is None:
            return 0
        for items in self.known.values():
            if item in items:
                return items[item]
        for outcome in outcomes.values():
            values = outcome.values.values() if isinstance(outcome, Branches) else [outcome]
            for value in values:
                if not isinstance(value, Absent):
                    found = await value.read() if isinstance(value, RefValue) else value
                    return self.partitioning.key(found)[1]
        return 0
