"""Takes items through a loop: calls the nodes that are ready, and gathers what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from nodeflow.engine.calls.invoke import Nodes
from nodeflow.engine.core.evaluation import Outcome
from nodeflow.engine.core.plan import LoopPlan
from nodeflow.engine.core.results import Results
from nodeflow.engine.core.work import Work
from nodeflow.engine.way.express import Stray
from nodeflow.engine.way.flights import Flights
from nodeflow.engine.way.hands import Hand
from nodeflow.engine.way.held import Held
from nodeflow.engine.way.packing import Packing
from nodeflow.engine.way.rows import Rows
from nodeflow.engine.way.way import Flush, Way


@frozen
class Runner:
    """Runs the nodes of a loop on one item after the other.

    Args:
        plan: the loop.
        nodes: its nodes, set up.
        packing: makes what they give ready to be sent.
        job: the job's id.
    """

    plan: LoopPlan
    nodes: Nodes
    packing: Packing
    job: str
    watch: Callable[[str, str, Outcome], None] | None = None
    """Told what a node gave for an item."""
    flights: Flights | None = None
    """The calls of nodes that don't block; None where the loop waits for these, too."""
    held: Held | None = None
    """Which keys are held; None where retries don't wait."""
    rows: Rows = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "rows", Rows(self.nodes, self.packing))

    async def run(
        self,
        work: Work,
        results: Results,
        attempt: int = 1,
        flush: Flush | None = None,
        hand: Hand | None = None,
    ) -> None:
        """Do what is left of an item; an exception of a node touches this item only.

        Args:
            work: what is left.
            results: what came of it is added to these.
            attempt: which delivery of it this is.
            flush: commits parts of it, when more comes of it than one hop can carry.
            hand: the item, where the loop goes on while nodes that don't block are at it.

        Raises:
            LookupError: the graph has not, or no longer, what the work needs.
            StoppedError: a node raised that shall stop the job.
        """
        await self._way(work, results, attempt, flush, hand).go()

    async def go_on(self, work: Work, stray: Stray, results: Results) -> None:
        """As `run`, of an item some nodes behind whose head are done with it."""
        await self._way(work, results, 1, None, None).go_on(stray)

    async def bury(self, works: Sequence[Work], results: Results, error: Mapping[str, Any], attempt: int) -> None:
        """Put what is left of an item into the dead letters without trying it, and tell those who wait for it.

        Args:
            works: what is left.
            results: what came of it is added to these.
            error: why, as it is kept; in which node is added, where that isn't known.
            attempt: how often it was tried.
        """
        for work in works:
            nodes = self.plan.entries[work.entry].called([again.node for again in work.run])
            where = f"; it isn't known in which node: {', '.join(nodes)}" if len(nodes) > 1 else ""
            why = {**error, "message": error["message"] + where}
            await self._way(work, results, 1, None, None).bury(why, attempt)

    def _way(self, work: Work, results: Results, attempt: int, flush: Flush | None, hand: Hand | None) -> Way:
        self.nodes.partition = work.partition
        return Way(self, self.plan.entries[work.entry], work, results, attempt, flush, hand)

    async def run_each(
        self,
        works: Sequence[Work],
        results: Results,
        attempt: int = 1,
        flush: Flush | None = None,
        hand: Hand | None = None,
    ) -> None:
        """As `run`, for all that is left of one item, one after the other."""
        for place, work in enumerate(works):
            behind = works[place + 1 :]

            async def flush_with(results: Results, left: Sequence[Work], behind: Sequence[Work] = behind) -> None:
                assert flush is not None
                await flush(results, [*left, *behind])

            await self.run(work, results, attempt, flush_with if flush is not None else None, hand)
