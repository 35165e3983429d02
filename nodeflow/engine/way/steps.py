"""Runs the nodes of a stage for one item: each that is ready, and what became of those that raised."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from attrs import define, evolve

from nodeflow.engine.calls.arguments import Reads, blamed, readable
from nodeflow.engine.calls.invoke import no_generator, no_stray_cancellation, nodes_error
from nodeflow.engine.calls.stalls import limited, waited
from nodeflow.engine.core.evaluation import Absent, Branches, Outcome, bind, settled
from nodeflow.engine.core.failures import Failure, is_nodes_own
from nodeflow.engine.core.results import Given, Results, done_count, with_more
from nodeflow.engine.core.stages import Stage, Step, Write
from nodeflow.engine.core.work import Again
from nodeflow.engine.way.express import Stray
from nodeflow.engine.way.flights import Landed
from nodeflow.engine.way.hands import Hand
from nodeflow.engine.way.packing import unsent
from nodeflow.engine.way.rows import Pack
from nodeflow.errors import BlobStoreError, PayloadError, StorageError
from nodeflow.graph import Kind, NodeSpec

if TYPE_CHECKING:
    from nodeflow.engine.way.runner import Runner

_log = logging.getLogger(__name__)


@define(eq=False)
class Steps:
    """Runs nodes for one item.

    Args:
        runner: what it belongs to.
        results: what came of them is added to these.
        attempt: which delivery of the item this is.
        hand: the item, where nodes that don't block are left to be called while the loop goes on.
    """

    runner: Runner
    results: Results
    attempt: int
    hand: Hand | None = None

    async def enter(self, step: Step, outcomes: list[Outcome], item: str) -> Failure | None:
        """Give the queues of an entry what came in there; what is left to be done when that can't travel."""
        outcome = outcomes[step.place]
        given = {} if isinstance(outcome, Absent | Branches) else {step.spec.id: outcome}
        failure = await self.send(step, item, outcome, given, 1)
        if failure is not None:
            failure = await self._send_failure(step, item, failure, None)
            outcomes[step.place] = failure.outcome
        is_left = failure is not None and failure.is_left
        if step.spec.kind is not Kind.READER and not is_left:
            self.results.count(done_count(step.spec.id))
        self.runner.rows.note(outcomes[step.place])
        return failure if is_left else None

    async def run_again(
        self, stage: Stage, outcomes: list[Outcome], item: str, reads: Reads, again: Mapping[str, Again]
    ) -> list[Failure]:
        """Run the nodes of a stage, some of them again; what is left to be done."""
        failures = []
        for step in stage.steps:
            if step.place in stage.fed:
                await self._feed(step, outcomes, item, reads)
                continue
            failure = await self._step(step, outcomes, item, reads, again.get(step.spec.id))
            if failure is not None:
                failures.append(failure)
        return failures

    async def _feed(self, step: Step, outcomes: list[Outcome], item: str, reads: Reads) -> None:
        """Run a node once more, for what takes from it: what it gave has gone where it goes, and was saved."""
        given = bind(step.sources, step.spec.required, outcomes)
        if isinstance(given, Absent):
            outcomes[step.place] = given
            return
        if self.hand is not None and step.spec.takes_context:
            await self.hand.hands.until_oldest(self.hand)
        failure = await self._call(step, outcomes, item, reads, given, 1)
        if failure is not None and failure.is_left:
            outcomes[step.place] = Absent.FAILED  # what is left of that was left before
        if step.spec.takes_context:
            self.runner.nodes.undo(step.spec)

    async def run_on(
        self, stage: Stage, outcomes: list[Outcome], item: str, reads: Reads, stray: Stray
    ) -> list[Failure]:
        """Go on with the nodes of a stage, one of which has been called; what is left to be done."""
        rows = self.runner.rows.of(stage)
        for row in rows[: stray.place]:
            self.results.count(row.done)
        step = rows[stray.place].step
        value, result, error = outcomes[rows[stray.place].source], stray.result, stray.error
        if stray.is_waiting:
            try:
                result = await waited(result, stray.waits_for, self.runner.nodes.patience)
            except BaseException as raised:
                error = raised
        if error is None:
            failure = await self._gave(step, outcomes, item, value, result)
        else:
            failure = await self._raised(step, outcomes, item, value, error)
        failures = [failure] if failure is not None else []
        return failures + await self.run(stage, outcomes, item, reads, stray.place + 1)

    async def run(
        self, stage: Stage, outcomes: list[Outcome], item: str, reads: Reads, first: int = 0
    ) -> list[Failure]:
        """Run the nodes of a stage, those with one plain input in the fastest way; what is left to be done.

        Args:
            stage: the stage.
            outcomes: what has been given for the item.
            item: its id.
            reads: what was read for it.
            first: the place of the first node that is run.
        """
        failures = []
        rows, counts = self.runner.rows, self.results.counts
        plain, patience = rows.plain, self.runner.nodes.patience
        for call, source, place, is_async, count, step, packs, _ in rows.of(stage)[first:]:
            value = outcomes[source]
            if call is None or value.__class__ not in plain:
                failure = await self._step(step, outcomes, item, reads, None)
            else:
                try:
                    result = call(value)
                    if is_async and result.__class__ is CoroutineType:
                        result = await limited(result, patience)
                except BaseException as error:
                    failure = await self._raised(step, outcomes, item, value, error)
                else:
                    if result.__class__ in plain and self._sent(packs, item, result):
                        outcomes[place] = result
                        counts[count] += 1
                        continue
                    failure = await self._gave(step, outcomes, item, value, result)
            if failure is not None:
                failures.append(failure)
        return failures

    def _sent(self, packs: tuple[Pack, ...] | None, item: str, value: Any) -> bool:
        """Give a plain value to a node's queues, when that is as simple as it mostly is."""
        if packs is None or self.runner.watch is not None:
            return False
        found = [pack(item, value) for pack in packs]
        if None in found:
            return False
        for each in found:
            assert each is not None
            self.results.push(*each)
        return True

    async def _raised(
        self, step: Step, outcomes: list[Outcome], item: str, value: Any, error: BaseException
    ) -> Failure | None:
        given = {step.sources[0][0]: value}
        failure = self.failure(step, item, given, nodes_error(error), 1)
        outcomes[step.place] = failure.outcome
        return await self._conclude(step, outcomes, item, given, 1, failure)

    async def _gave(self, step: Step, outcomes: list[Outcome], item: str, value: Any, result: Any) -> Failure | None:
        given = {step.sources[0][0]: value}
        failure = None
        try:
            with no_stray_cancellation():
                result = no_generator(step.spec, await self.runner.nodes.awaited(result))
            outcomes[step.place] = settled(step.spec, given, result)
        except BaseException as error:
            failure = self.failure(step, item, given, error, 1)
            outcomes[step.place] = failure.outcome
        return await self._conclude(step, outcomes, item, given, 1, failure)

    async def _step(
        self, step: Step, outcomes: list[Outcome], item: str, reads: Reads, again: Again | None
    ) -> Failure | None:
        """Run a node, if it is ready, and give its queues what it gave; what is left to be done when it raised."""
        given = bind(step.sources, step.spec.required, outcomes) if again is None else again.given
        attempt = 1 if again is None else again.attempt
        failure: Failure | None = None
        if isinstance(given, Absent):
            outcomes[step.place] = given
        elif self.hand is not None and step.spec.kind is Kind.NON_BLOCKING:
            outcomes[step.place] = Absent.WAITING
            return Failure.flying(again or Again(node=step.spec.id, given=given))
        else:
            if self.hand is not None and step.spec.takes_context:
                await self.hand.hands.until_oldest(self.hand)
            failure = await self._call(step, outcomes, item, reads, given, attempt)
        return await self._conclude(step, outcomes, item, {} if isinstance(given, Absent) else given, attempt, failure)

    async def _conclude(
        self,
        step: Step,
        outcomes: list[Outcome],
        item: str,
        given: Mapping[str, Any],
        attempt: int,
        failure: Failure | None,
    ) -> Failure | None:
        """Give a node's queues what it gave; what is left to be done when it raised, or that can't travel."""
        unsent = await self.send(step, item, outcomes[step.place], given, attempt)
        if unsent is not None:
            failure = await self._send_failure(step, item, unsent, failure)
            outcomes[step.place] = failure.outcome
        elif not isinstance(outcomes[step.place], Absent) or (failure is not None and not failure.is_left):
            self.results.count(done_count(step.spec.id))
            self.runner.rows.note(outcomes[step.place])
        return failure if failure is not None and failure.is_left else None

    async def _send_failure(self, step: Step, item: str, unsent: Failure, before: Failure | None) -> Failure:
        """Tell a node's queues that what it gave can't travel; when its error branch can't either, it is left."""
        if await self.send(step, item, unsent.outcome, {}, unsent.again.attempt) is None:
            return unsent
        error = before.error if before is not None else unsent.error
        await self.send(step, item, Absent.FAILED, {}, unsent.again.attempt)
        more = f"its error branch can't take it: {unsent.error['message']}"
        return evolve(unsent, outcome=Absent.FAILED, error=with_more(error, more))

    async def _call(
        self, step: Step, outcomes: list[Outcome], item: str, reads: Reads, given: Mapping[str, Any], attempt: int
    ) -> Failure | None:
        spec, runner = step.spec, self.runner
        try:
            found = await readable(spec, given, reads, runner.plan.source, item=item, job=runner.job)
            if isinstance(found, Absent):
                outcomes[step.place] = found
                return None
            result = await runner.nodes.call(spec, found[1], item, attempt + self.attempt - 1)
            outcomes[step.place] = settled(spec, found[0], result, step.branches)
        except BaseException as error:
            failure = self.failure(step, item, given, error, attempt)
            outcomes[step.place] = failure.outcome
            return failure
        return None

    async def fly(self, step: Step, item: str, reads: Reads, given: Mapping[str, Any], attempt: int) -> Landed:
        """Call a node that doesn't block, while others have their turn.

        Raises:
            BaseException: its error, when it is not the node's.
        """
        spec, runner = step.spec, self.runner
        try:
            found = await readable(spec, given, reads, runner.plan.source, item=item, job=runner.job)
            if isinstance(found, Absent):
                return Landed(step, given, attempt, found)
            result, pushed = await runner.nodes.fly(spec, found[1], item, attempt + self.attempt - 1)
            return Landed(step, given, attempt, settled(spec, found[0], result), pushed)
        except BaseException as error:
            if not is_nodes_own(error):
                raise
            return Landed(step, given, attempt, error=error)

    async def land(self, landed: Landed, outcomes: list[Outcome], item: str) -> Failure | None:
        """Give a node's queues what a call gave; what is left to be done when it raised, or that can't travel."""
        step, failure = landed.step, None
        outcomes[step.place] = landed.outcome
        if landed.error is not None:
            failure = self.failure(step, item, landed.given, landed.error, landed.attempt)
            outcomes[step.place] = failure.outcome
        self.runner.nodes.pushed.extend(landed.pushed)
        return await self._conclude(step, outcomes, item, landed.given, landed.attempt, failure)

    def close(self, step: Step, item: str, number: int | Absent) -> None:
        """Tell those who gather a generator's values how many there are."""
        for join in step.closes:
            self.results.give(Given(join, item, count=number))

    async def remember(self, spec: NodeSpec) -> None:
        """Have the hop save what a node remembers, and push what it has pushed.

        Raises:
            PayloadError: something of it can't be kept, or sent.
            BlobStoreError: it is large, and its blob can't be written.
        """
        state = self.runner.nodes.state(spec)
        changes = {}
        if state is not None:
            for name, data in state.changes().items():
                changes[name] = None if data is None else await self.runner.packing.field(state.name, data)
        await self.push(spec)
        if state is not None:
            state.keep(changes)
            for name, saved in changes.items():
                self.results.remember(state.name, name, saved)

    async def push(self, _: NodeSpec) -> None:
        """Have the hop push what the node that was called last has pushed.

        Raises:
            PayloadError: something of it can't be sent.
            BlobStoreError: it is large, and its blob can't be written.
        """
        nodes = self.runner.nodes
        pushes = [(queue, await self.runner.packing.foreign(queue, value)) for queue, value in nodes.pushed]
        nodes.pushed.clear()
        for queue, value in pushes:
            self.results.push(queue, value)

    def failure(
        self, step: Step, item: str, given: Mapping[str, Any], error: BaseException, attempt: int, position: int = 0
    ) -> Failure:
        """What becomes of an item on which a node raised.

        Raises:
            BaseException: the error itself, when it is not the node's.
        """
        if not is_nodes_own(error):
            raise error
        if step.spec.takes_context:
            self.runner.nodes.undo(step.spec)
        again = Again(node=step.spec.id, given=given, attempt=attempt, position=position)
        return Failure.of(step.spec, item, again, error)

    async def send(
        self, step: Step, item: str, outcome: Outcome, given: Mapping[str, Any], attempt: int
    ) -> Failure | None:
        """Give what a node gave to its queues, to all or to none; the failure of one whose output can't travel."""
        return await self._send(step, item, outcome, given, attempt, self.remember)

    async def send_child(
        self, step: Step, item: str, value: Any, given: Mapping[str, Any], attempt: int
    ) -> Failure | None:
        """As `send`, of one value of a generator: what that remembers is saved when it is through.

        So it begins again with what it had at first, when it has to give the first values once more.
        """
        return await self._send(step, item, value, given, attempt, self.push)

    async def _send(
        self,
        step: Step,
        item: str,
        outcome: Outcome,
        given: Mapping[str, Any],
        attempt: int,
        and_then: Callable[[NodeSpec], Awaitable[None]],
    ) -> Failure | None:
        pushes = []
        try:
            for write in step.writes:
                packed = await self._packed(step, write, item, outcome)
                if packed is not None:
                    pushes.append(packed)
            if step.spec.takes_context:
                await and_then(step.spec)
        except BaseException as error:  # whatever a value does when it is looked at
            if isinstance(error, StorageError) and not isinstance(error, BlobStoreError):
                raise
            return self.failure(step, item, given, error, attempt)
        for queue, data in pushes:
            self.results.push(queue, data)
        if self.runner.watch is not None:
            self.runner.watch(step.spec.id, item, outcome)
        return None

    async def _packed(self, step: Step, write: Write, item: str, outcome: Outcome) -> tuple[str, bytes] | None:
        sent = write.taken(outcome)
        if sent is Absent.WAITING:
            return None
        try:
            return await self.runner.packing.push(write, item, sent)
        except BlobStoreError as error:
            giver = self._giver(step)
            if giver.options.on_blob_error == "fail":
                raise blamed(error, giver.id, self.runner.job) from None
            _log.warning("item %s: what %r gave doesn't go to queue %r: %s", item, giver.id, write.queue, error)
            return None
        except PayloadError as error:
            raise unsent(write, error) from error

    def _giver(self, step: Step) -> NodeSpec:
        return self.runner.plan.source(step.spec.id)
