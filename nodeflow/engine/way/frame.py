"""A frame: a generator whose values go through the loop one after the other, and what is left of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any

from attrs import define

from nodeflow.engine.calls.arguments import Reads
from nodeflow.engine.core.evaluation import Outcome
from nodeflow.engine.core.failures import Place
from nodeflow.engine.core.stages import Entry, FanOut
from nodeflow.engine.core.work import Again, Work


@define(eq=False)
class Frame:
    """A generator whose values are gone through, one after the other.

    Args:
        fan_out: the generator, and what stands behind it.
        outcomes: what has been given for the item.
        item: the item's id.
        given: what the generator was given.
        attempt: which attempt this is.
        skip: how many of its values have gone on before.
        reads: what was read for the item.
        number: how many values it has given.
        values: they; None before it is called.
        finishes: whether they are those that a node gives at the end.
    """

    fan_out: FanOut
    outcomes: list[Outcome]
    item: str
    given: Mapping[str, Any]
    attempt: int
    skip: int
    reads: Reads
    number: int = 0
    values: AsyncGenerator[Any, None] | None = None
    finishes: bool = False

    def left(self, entry: Entry, work: Work, again: Again | None = None) -> Work:
        """What is left to be done of it.

        Args:
            entry: where the item came in.
            work: what was to be done of that.
            again: how it runs again; None for from its next value on.
        """
        node = self.fan_out.step.spec.id
        again = again or Again(node=node, given=self.given, attempt=self.attempt, position=self.number)
        if self.finishes:
            return Work(item=self.item, entry=entry.spec.id, run=(again,), finishes=True)
        if not self.fan_out.is_needed:
            return self._fed(entry, again, work.news or [each.node for each in work.run])
        return Place(entry, self.fan_out.stage.level[:-1], self.item, self.outcomes).work((again,))

    def _fed(self, entry: Entry, again: Again, news: Iterable[str]) -> Work:
        """As `left`, where it runs only for that below it to which what some nodes give is news."""
        outer = self.fan_out.outer
        new = outer & entry.reached(news)
        kept = {node: self.outcomes[place] for node, place in entry.places.items() if place in outer}
        return Work(
            item=self.item,
            entry=entry.spec.id,
            level=self.fan_out.stage.level[:-1],
            kept=kept,
            run=(again,),
            news=tuple(node for node, place in entry.places.items() if place in new),
        )
