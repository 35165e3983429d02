"""The names of all queues in which the items of a graph's loops lie."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from nodeflow.engine.core.partitioning import gathered_queue, slot_queue
from nodeflow.engine.core.results import loop_queue
from nodeflow.graph import Graph, Kind, Loop, NodeSpec


@frozen
class Queues:
    """The queues of a graph's loops.

    Args:
        graph: the finished graph.
        slots: in how many processes loops were at most while they had `by=`.
    """

    graph: Graph
    slots: Mapping[str, int] = field(factory=dict)

    def of_reader(self, reader: NodeSpec) -> list[str]:
        """The queues by which a reader's items come into its loop; not the one that other programs fill."""
        loop = self.graph.loops[reader.loop]
        name = str(reader.target.queue)
        is_read = loop.by is None and reader.edges
        return [*([name] if is_read else []), *self._parts(name, loop)]

    def own(self, loop: str) -> list[str]:
        """The queues of the work that a loop has left for later, the one with its dead letters first."""
        name = loop_queue(loop)
        return [name, *self._parts(name, self.graph.loops[loop])]

    def of_loop(self, loop: str) -> list[str]:
        """All that lead into a loop, its own included."""
        readers = (reader for reader in self.readers if reader.loop == loop)
        found = [*(queue for reader in readers for queue in self.of_reader(reader)), *self.own(loop)]
        if self.graph.loops[loop].by is not None:
            found += [gathered_queue(name) for name in (*self.into(loop), loop_queue(loop))]
        return found

    def into(self, loop: str) -> list[str]:
        """The names of the channels, and of other programs' queues, that a loop reads."""
        return [str(reader.target.queue) for reader in self.readers if reader.loop == loop]

    @property
    def readers(self) -> list[NodeSpec]:
        """The nodes by which items of queues come into loops."""
        return [spec for spec in self.graph.nodes.values() if spec.kind is Kind.READER]

    @property
    def between(self) -> dict[str, list[str]]:
        """The queues in which items wait for a loop, by the name that their parts have in common."""
        found = {str(reader.target.queue): self.of_reader(reader) for reader in self.readers}
        return {name: queues for name, queues in found.items() if queues}

    @property
    def all(self) -> list[str]:
        """All of them."""
        return [queue for loop in self.graph.loops for queue in self.of_loop(loop)]

    def _parts(self, name: str, loop: Loop) -> list[str]:
        slots = max(loop.processes if loop.by is not None else 0, self.slots.get(loop.name, 0))
        return [slot_queue(name, slot) for slot in range(slots)]
