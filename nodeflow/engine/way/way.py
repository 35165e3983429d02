"""One item's way through a loop: each node is called when it is ready, generators one value at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field

from nodeflow.engine.calls.arguments import Reads, readable
from nodeflow.engine.core.evaluation import Absent, Outcome, bind, settled
from nodeflow.engine.core.failures import Failure, Left, Place
from nodeflow.engine.core.results import Given, Results, done_count, error_record, with_more
from nodeflow.engine.core.stages import Entry, FanOut, Part, Stage
from nodeflow.engine.core.work import Again, Work
from nodeflow.engine.way.express import Stray
from nodeflow.engine.way.flights import Flight, Landed
from nodeflow.engine.way.frame import Frame
from nodeflow.engine.way.hands import Hand
from nodeflow.engine.way.steps import Steps
from nodeflow.errors import BlobStoreError, PayloadError
from nodeflow.graph import Kind

if TYPE_CHECKING:
    from nodeflow.engine.way.runner import Runner

MOST_IN_HOP = 10_000
"""How many values one hop carries at most; what has more children is committed in parts."""

HOP_BYTES = 512 << 10
"""How many bytes of values one hop should carry at most, so that it holds up nobody in the server for long."""


Flush = Callable[[Results, Sequence[Work]], Awaitable[None]]
"""Commits what came of an item so far with the work that is left, the last of it first, and clears the results."""


@define(eq=False)
class Way:
    """One item's way through a loop.

    Args:
        runner: what it belongs to.
        entry: where it came in.
        work: what is left of it.
        results: what came of it is added to these.
        attempt: which delivery of it this is.
        flush: commits parts of it.
        hand: the item, where the loop goes on while nodes that don't block are at it.
    """

    runner: Runner
    entry: Entry
    work: Work
    results: Results
    attempt: int
    flush: Flush | None
    hand: Hand | None = None
    is_first: bool = True
    """Whether it is the one that the item began with, and not one behind nodes that didn't block."""
    frames: list[Frame] = field(factory=list)
    steps: Steps = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.steps = Steps(self.runner, self.results, self.attempt, self.hand)

    async def go(self) -> None:
        """Do what is left of the item."""
        work = self.work
        outcomes = work.known(self.entry.places)
        try:
            if work.is_given_up:
                await self._give_up(work, outcomes)
            elif work.finishes:
                self._finish(work, outcomes)
            elif work.run or work.dead:
                await self._again(work, outcomes)
            else:
                await self._enter(work, outcomes)
            await self._drive()
        finally:
            await self._close_frames()

    async def go_on(self, stray: Stray) -> None:
        """Take an item on that left the short way."""
        stage, outcomes, item = self.entry.stage, stray.outcomes, self.work.item
        if self.entry.spec.kind is not Kind.READER:
            self.results.count(done_count(self.entry.spec.id))
        failures = await self.steps.run_on(stage, outcomes, item, Reads(outcomes), stray)
        if failures:
            await self._leave(failures, stage.level, item, outcomes, Reads(outcomes))

    async def land(self, flight: Flight, landed: Sequence[Landed]) -> None:
        """Go on behind nodes that didn't block."""
        await evolve(self, frames=[], is_first=False)._land(flight, landed)

    async def _land(self, flight: Flight, landed: Sequence[Landed]) -> None:
        failures = [each for each in flight.group if not each.is_flying]
        found = [await self.steps.land(each, flight.outcomes, flight.item) for each in landed]
        failures += [failure for failure in found if failure is not None]
        nodes = frozenset(step.spec.id for step in flight.steps)
        held = {each.again.node: each.again for each in flight.group if each.is_held}
        failures = [failure for failure in failures if not failure.is_held]
        stage = self.entry.behind(flight.level, frozenset(held), nodes)
        try:
            await self._stage(stage, flight.outcomes, flight.item, flight.reads, failed=failures, held=held)
            await self._drive()
        finally:
            await self._close_frames()

    async def _drive(self) -> None:
        while self.frames:
            await self._advance(self.frames[-1])
            if self.flush is not None and self._is_large:
                await self._flush(self.flush)

    async def _close_frames(self) -> None:
        for frame in self.frames:
            if frame.values is not None:
                await frame.values.aclose()

    async def bury(self, error: Mapping[str, Any], attempt: int) -> None:
        """Leave it for ever, tried so often."""
        work = self.work
        outcomes = work.known(self.entry.places)
        if work.finishes:
            node = work.run[0].node
        else:
            stage = await self._lose(work, outcomes, Absent.FAILED)
            node = work.run[0].node if work.run else next(stage.every_step(), self.entry).spec.id
        left = evolve(work, run=(*work.run, *work.dead), dead=(), errors=(), is_given_up=False)
        await self._keep(Left(left, None, node, error, attempt))

    async def _lose(self, work: Work, outcomes: list[Outcome], outcome: Absent) -> Stage:
        """Go on behind nodes that give nothing, or nothing more; what stands there."""
        unsettled = {} if work.news else work.unsettled  # what was given has gone on, but to what the news is for
        stage = self.entry.behind(work.level, frozenset(), frozenset(unsettled))
        for node, number in unsettled.items():
            outcomes[self.entry.places[node]] = outcome
            step = self.entry.steps.get(node)
            if step is not None and step.spec.fans_out and step.spec.kind is not Kind.PRODUCER:
                self.steps.close(step, work.item, outcome if outcome is Absent.FAILED else number)
            elif step is not None:
                await self.steps.send(step, work.item, outcome, {}, 1)
        await self._stage(stage, outcomes, work.item, Reads(outcomes))
        return stage

    async def _give_up(self, work: Work, outcomes: list[Outcome]) -> None:
        """Go on as if what failed had been skipped; the values that it gave before stay."""
        if work.finishes:
            self.steps.close(self.entry.steps[work.run[0].node], work.item, work.run[0].position)
        elif work.news:
            skipped = evolve(work, kept={**work.kept, **dict.fromkeys(work.news, Absent.SKIPPED)})
            await self._again(skipped, skipped.known(self.entry.places))
        else:
            await self._lose(work, outcomes, Absent.SKIPPED)

    async def _enter(self, work: Work, outcomes: list[Outcome]) -> None:
        step = self.entry.step
        if step is not None:
            failure = await self.steps.enter(step, outcomes, work.item)
            if failure is not None:
                await self._leave([failure], (), work.item, outcomes, Reads(outcomes))
        await self._stage(self.entry.stage, outcomes, work.item, Reads(outcomes))

    def _finish(self, work: Work, outcomes: list[Outcome]) -> None:
        (again,) = work.run
        step = self.entry.steps[again.node]
        own = (again.node,) if step.spec.fans_out and step.spec.kind is not Kind.PRODUCER else ()
        level = (*self.runner.plan.levels[again.node], *own)
        stage = self.entry.behind(level, frozenset(), frozenset({again.node}))
        frame = Frame(FanOut(step, stage), outcomes, work.item, {}, again.attempt, again.position, Reads(outcomes))
        frame.values = self.runner.nodes.finish(step.spec, again.attempt + self.attempt - 1)
        frame.finishes = True
        self.frames.append(frame)

    async def _again(self, work: Work, outcomes: list[Outcome]) -> None:
        for again in work.dead:
            outcomes[self.entry.places[again.node]] = Absent.FAILED
        run = frozenset(each.node for each in work.run)
        fed, behind = self.entry.fed, self.entry.behind
        stage = fed(work.level, run, frozenset(work.news)) if work.news else behind(work.level, run)
        await self._stage(stage, outcomes, work.item, Reads(outcomes), work)

    async def _stage(
        self,
        stage: Stage,
        outcomes: list[Outcome],
        item: str,
        reads: Reads,
        work: Work | None = None,
        failed: Sequence[Failure] = (),
        held: Mapping[str, Again] = MappingProxyType({}),
    ) -> None:
        again = {each.node: each for each in work.run} if work is not None else held
        if again or stage.fed:
            failures = await self.steps.run_again(stage, outcomes, item, reads, again)
        else:
            failures = await self.steps.run(stage, outcomes, item, reads)
        frames = []
        for fan_out in stage.fan_outs:
            found = self._frame(fan_out, outcomes, item, reads, again.get(fan_out.step.spec.id))
            if isinstance(found, Frame):
                frames.append(found)
            elif found is not None:
                failures.append(found)
        if failures or failed or (work is not None and work.dead):
            await self._leave([*failed, *failures], stage.level, item, outcomes, reads, work)
        for part in stage.parts:
            await self._give(part, outcomes, stage.level, item)
        self.frames += reversed(frames)

    async def _give(self, part: Part, outcomes: list[Outcome], level: tuple[str, ...], item: str) -> None:
        """Give a join its part, unless that is still to come."""
        found = {node: outcomes[place] for node, place in part.sources}
        absent = [outcome for outcome in found.values() if isinstance(outcome, Absent)]
        if Absent.WAITING in absent:
            return
        record, name = (item, part.name) if part.name is not None else tuple(item.rsplit(".", 1))
        data = None
        try:
            if Absent.FAILED not in absent:
                data = await self.runner.packing.part(part.join.node, found)
        except (PayloadError, BlobStoreError) as error:
            work = Work(item=item, entry=self.entry.spec.id, level=level, kept=found)
            why = with_more(error_record(error), f"so it can't be kept for {part.join.node!r}")
            await self._keep(Left(work, None, part.sources[0][0], why, 1))
        self.results.give(Given(part.join, record, name, data))

    def _frame(
        self, fan_out: FanOut, outcomes: list[Outcome], item: str, reads: Reads, again: Again | None
    ) -> Frame | Failure | None:
        """A generator's frame; or what makes it wait, when something is still to come that is taken below it."""
        step = fan_out.step
        given = bind(step.sources, step.spec.required, outcomes) if again is None else again.given
        if isinstance(given, Absent):
            outcomes[step.place] = given
            if given is not Absent.WAITING and fan_out.is_needed:
                self.steps.close(step, item, given)
            return None
        if fan_out.is_needed and any(outcomes[place] is Absent.WAITING for place in fan_out.outer):
            outcomes[step.place] = Absent.WAITING
            return Failure.held(again or Again(node=step.spec.id, given=given))
        attempt, skip = (1, 0) if again is None else (again.attempt, again.position)
        return Frame(fan_out, outcomes, item, given, attempt, skip, reads)

    async def _advance(self, frame: Frame) -> None:
        """Take the next value of a generator on."""
        step = frame.fan_out.step
        if self.hand is not None and step.spec.takes_context:
            await self.hand.hands.until_oldest(self.hand)
        try:
            if frame.values is None and not await self._open(frame):
                return
            assert frame.values is not None
            value = await anext(frame.values, _END)
            if value is not _END and frame.number >= frame.skip:
                value = settled(step.spec, frame.given, value, step.branches)
            await self._remember(frame, value)
        except BaseException as error:
            await self._break_off(frame, error)
            return
        if value is _END:
            self.frames.remove(frame)
            if frame.fan_out.is_needed:
                self.steps.close(step, frame.item, frame.number)
                self.results.count(done_count(step.spec.id), 0 if frame.finishes else 1)
            return
        frame.number += 1
        if frame.number > frame.skip:
            await self._child(frame, value)

    async def _remember(self, frame: Frame, value: Any) -> None:
        """See to what a generator did beside giving a value, or its end."""
        spec, nodes = frame.fan_out.step.spec, self.runner.nodes
        if not spec.takes_context:
            return
        if value is not _END and (frame.number < frame.skip or not frame.fan_out.is_needed):
            nodes.pushed.clear()  # that was done before
        elif value is _END and frame.fan_out.is_needed:
            await self.steps.remember(spec)
        elif value is _END:
            nodes.undo(spec)

    async def _open(self, frame: Frame) -> bool:
        """Call a generator; False when what it takes can't be read, and need not be."""
        spec = frame.fan_out.step.spec
        source, job = self.runner.plan.source, self.runner.job
        found = await readable(spec, frame.given, frame.reads, source, item=frame.item, job=job)
        if isinstance(found, Absent):
            self.frames.remove(frame)
            if frame.fan_out.is_needed:
                self.steps.close(frame.fan_out.step, frame.item, found)
            return False
        frame.values = self.runner.nodes.fan_out(spec, found[1], frame.item, frame.attempt + self.attempt - 1)
        return True

    async def _child(self, frame: Frame, value: Any) -> None:
        step = frame.fan_out.step
        item = f"{frame.item}.{frame.number - 1}"
        outcomes = frame.outcomes.copy()
        outcomes[step.place] = value
        if frame.fan_out.is_needed:
            failure = await self.steps.send_child(step, item, value, frame.given, frame.attempt)
            if failure is not None:
                frame.number -= 1
                await self._broken_off(frame, evolve(failure, again=evolve(failure.again, position=frame.number)))
                return
        await self._stage(frame.fan_out.stage, outcomes, item, Reads(outcomes, frame.reads))

    async def _break_off(self, frame: Frame, error: BaseException) -> None:
        """A generator raised: the values before have gone on, those too of an attempt that came further."""
        step = frame.fan_out.step
        frame.number = max(frame.number, frame.skip)
        await self._broken_off(
            frame, self.steps.failure(step, frame.item, frame.given, error, frame.attempt, frame.number)
        )

    async def _broken_off(self, frame: Frame, failure: Failure) -> None:
        step = frame.fan_out.step
        self.frames.remove(frame)
        if frame.values is not None:
            await frame.values.aclose()
        frame.outcomes[step.place] = failure.outcome
        if failure.outcome is not Absent.WAITING and frame.fan_out.is_needed:
            self.steps.close(step, frame.item, frame.number if not failure.is_left else Absent.FAILED)
        if not failure.is_left:
            return
        if frame.finishes or not frame.fan_out.is_needed:
            await self._keep(failure.left(frame.left(self.entry, self.work, failure.next)))
        else:
            await self._leave([failure], frame.fan_out.stage.level[:-1], frame.item, frame.outcomes, frame.reads)

    async def _leave(
        self,
        failures: list[Failure],
        level: tuple[str, ...],
        item: str,
        outcomes: list[Outcome],
        reads: Reads,
        work: Work | None = None,
    ) -> None:
        """Leave what failed for later, or for ever, and let nodes that don't block go on by themselves."""
        place = Place(self.entry, level, item, outcomes)
        for group in place.groups(failures, work):
            if self.hand is not None and any(each.is_flying for each in group):
                assert self.runner.flights is not None
                await self.runner.flights.start(Flight(self, self.hand, level, item, outcomes, reads, group))
            else:
                await self._keep(place.left(group))

    async def _keep(self, left: Left) -> None:
        if left.delay is None:
            work = self._of_key(left.work)
            data = await self.runner.packing.letter(work, left.node, left.error, left.attempt)
            self.results.fail(left.node, data)
            return
        queue = self.runner.plan.own_queue(self.work.partition)
        holds = bool(self.work.key)
        try:
            data = await self.runner.packing.work(queue, self._of_key(left.work, holds=holds))
        except (PayloadError, BlobStoreError) as error:
            more = f"it can't be tried again, since what it was given can't be kept: {error}"
            await evolve(self, work=left.work, frames=[]).bury(with_more(left.error, more), left.attempt)
            return
        if holds and self.runner.held is not None:
            await self.runner.held.begin(self.work.key, self.results)
        self.results.wait(queue, left.delay, data)

    def _of_key(self, left: Work, *, holds: bool = False) -> Work:
        return evolve(left, key=self.work.key, partition=self.work.partition, holds=holds)

    @property
    def _is_large(self) -> bool:
        return self.results.size > HOP_BYTES or self.results.number > MOST_IN_HOP

    async def _flush(self, flush: Flush) -> None:
        """Commit what there is, unless what is left can't be noted."""
        if not all(frame.fan_out.is_needed for frame in self.frames):
            return
        if self.hand is not None and not await self._is_alone(self.hand):
            return
        left = [frame.left(self.entry, self.work) for frame in reversed(self.frames)]
        await flush(self.results, [self._of_key(work, holds=self.work.holds) for work in left])

    async def _is_alone(self, hand: Hand) -> bool:
        """Whether nothing else of the item is under way; the way that it began with waits for that."""
        if self.is_first:
            await hand.hands.until(hand, lambda: hand.flights == 1)
        return hand.flights == 1


_END: Any = object()
