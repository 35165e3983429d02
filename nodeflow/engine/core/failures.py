"""What becomes of an item on which a node raised: it is tried again, skipped, sent down a branch, or kept."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve, frozen

from nodeflow.engine.core.endings import StoppedError
from nodeflow.engine.core.evaluation import Absent, Branches, Outcome
from nodeflow.engine.core.results import error_record
from nodeflow.engine.core.stages import Entry, Stage
from nodeflow.engine.core.work import Again, Work
from nodeflow.graph import NodeSpec
from nodeflow.graph.options import SKIP, STOP


def is_nodes_own(error: BaseException) -> bool:
    """Whether an exception that came out of a node is the node's, and not the end of who called it."""
    return not isinstance(error, asyncio.CancelledError | GeneratorExit | KeyboardInterrupt)


@frozen
class Failure:
    """A node raised on an item.

    Args:
        again: how it would run again.
        error: what it raised, as it is kept.
        outcome: what it counts as having given.
        delay: in how many seconds it is tried again; None for never.
        is_held: whether it is none, but a generator that waits for what others give.
    """

    again: Again
    error: Mapping[str, Any]
    outcome: Outcome
    delay: float | None
    is_held: bool = False

    @classmethod
    def of(cls, spec: NodeSpec, item: str, again: Again, error: BaseException) -> Failure:
        """What a node's options say.

        Raises:
            StoppedError: the job shall stop.
        """
        record = error_record(error)
        options = spec.options
        delay = options.retry.wait(error, again.attempt) if options.retry is not None else None
        if delay is not None:
            return cls(again, record, Absent.WAITING, delay)
        if options.on_error == STOP:
            raise StoppedError(spec.id, item, record) from error
        if options.on_error == SKIP:
            return cls(again, record, Absent.SKIPPED, None)
        if options.error_branch is not None:
            value = {"item": item, "node": spec.id, "input": dict(again.given), "error": record}
            return cls(again, record, Branches({options.error_branch: value}), None)
        return cls(again, record, Absent.FAILED, None)

    @property
    def next(self) -> Again:
        """The node's next attempt; what is requeued from the dead letters has all of them before it."""
        if self.is_held:
            return self.again
        return evolve(self.again, attempt=self.again.attempt + 1 if self.delay is not None else 1)

    @classmethod
    def flying(cls, again: Again) -> Failure:
        """No failure yet: a node that is still at it."""
        return cls(again, {}, Absent.WAITING, None)

    @classmethod
    def held(cls, again: Again) -> Failure:
        """No failure: a generator below which something is taken that is still to come."""
        return cls(again, {}, Absent.WAITING, 0.0, is_held=True)

    @property
    def is_flying(self) -> bool:
        """Whether the node is still at it."""
        return self.outcome is Absent.WAITING and self.delay is None

    def left(self, work: Work) -> Left:
        """What is left to be done, when that is nothing but this."""
        return Left(work, self.delay, self.again.node, self.error, self.again.attempt)

    @property
    def is_left(self) -> bool:
        """Whether something is left to be done."""
        return self.outcome is Absent.WAITING or self.outcome is Absent.FAILED


@frozen
class Left:
    """What is left to be done on an item.

    Args:
        work: that.
        delay: in how many seconds; None when it goes to the dead letters.
        node: the node that raised, the first of them.
        error: what it raised, as it is kept.
        attempt: how often it was tried.
    """

    work: Work
    delay: float | None
    node: str
    error: Mapping[str, Any]
    attempt: int


@frozen
class Place:
    """Where in an item's way something failed.

    Args:
        entry: where the item came in.
        level: the fan-outs below which it stands.
        item: the item's id.
        outcomes: what has been given for it.
    """

    entry: Entry
    level: tuple[str, ...]
    item: str
    outcomes: Sequence[Outcome]

    def groups(self, failures: Sequence[Failure], before: Work | None = None) -> list[list[Failure]]:
        """What failed, or is still at it: together what a further node takes together.

        Args:
            failures: what failed now.
            before: the work that was done, some of which may have failed before.
        """
        open_ones = list(failures)
        if before is not None:
            dead = zip(before.dead, before.errors, strict=True)
            open_ones += [Failure(again, error, Absent.FAILED, None) for again, error in dead]
        return self._together(open_ones)

    def _together(self, failures: Sequence[Failure]) -> list[list[Failure]]:
        groups: list[tuple[frozenset[int], list[Failure]]] = []
        for failure in failures:
            reached = self.entry.reached({failure.again.node})
            together = [failure]
            apart = []
            for places, group in groups:
                if places.isdisjoint(reached):
                    apart.append((places, group))
                else:
                    reached |= places
                    together = [*group, *together]
            groups = [*apart, (reached, together)]
        return [group for _, group in groups]

    def left(self, group: Sequence[Failure]) -> Left:
        """What is left to be done of a group, none of which is still at it."""
        group = sorted(group, key=lambda each: (each.is_held, self.entry.places[each.again.node]))
        delays = [each.delay for each in group if each.delay is not None]
        dead = [each for each in group if each.delay is None and delays]
        work = self.work(
            tuple(each.next for each in group if each.delay is not None or not delays),
            tuple(each.again for each in dead),
            tuple(each.error for each in dead),
        )
        first = group[0]
        return Left(work, max(delays) if delays else None, first.again.node, first.error, first.again.attempt)

    def work(
        self, run: tuple[Again, ...], dead: tuple[Again, ...] = (), errors: tuple[Mapping[str, Any], ...] = ()
    ) -> Work:
        """The work of running some nodes and what takes from them, with all that this needs."""
        names = {place: node for node, place in self.entry.places.items()}
        nodes = frozenset(each.node for each in run)
        needed = _needed(self.entry.behind(self.level, nodes), nodes)
        needed -= {self.entry.places[each.node] for each in dead}
        return Work(
            item=self.item,
            entry=self.entry.spec.id,
            level=self.level,
            kept={names[each]: self.outcomes[each] for each in sorted(needed)},
            run=run,
            dead=dead,
            errors=errors,
        )


def _needed(stage: Stage, given: frozenset[str]) -> set[int]:
    """The places whose outcomes a stage needs from elsewhere; some nodes have their input already."""
    needed: set[int] = set()
    made: set[int] = set()
    for step in stage.every_step():
        made.add(step.place)
        if step.spec.id not in given:
            needed.update(place for _, place, _ in step.sources)
    for part in stage.every_part():
        needed.update(place for _, place in part.sources)
    return needed - made
