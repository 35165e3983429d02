"""Takes items through a loop: asks the evaluation what is ready, runs it, gathers what came of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from attrs import define

from nodeflow.engine.arguments import blamed, ready
from nodeflow.engine.evaluation import Evaluation, Outcome, Task, settled
from nodeflow.engine.invoke import Nodes
from nodeflow.engine.packing import Packing
from nodeflow.engine.plan import LoopPlan
from nodeflow.engine.results import Results, done_count
from nodeflow.errors import BlobStoreError, PayloadError, StorageError
from nodeflow.graph import Kind, NodeSpec

_log = logging.getLogger(__name__)

Failure = (Exception, SystemExit)
"""What a node may raise without ending its process."""


@define
class Runner:
    """Runs the nodes of a loop on one item after the other.

    Args:
        plan: the loop.
        nodes: its nodes, set up.
        packing: makes what they give ready to be pushed.
    """

    plan: LoopPlan
    nodes: Nodes
    packing: Packing

    @property
    def job(self) -> str:
        """The job's id."""
        return self.packing.job

    async def run(self, head: NodeSpec, item_id: str, outcome: Outcome, attempt: int = 1) -> Results:
        """Take one item through the loop; an exception of a node touches this item only.

        Args:
            head: where it came in.
            item_id: its id.
            outcome: what the head gave.
            attempt: which delivery of the item this is.
        """
        results = Results()
        if head.kind is not Kind.READER:
            results.count(done_count(head.id))
        await self._stage(Evaluation(self.plan.stages[head.id], item_id, {head.id: outcome}), results, attempt)
        return results

    async def finish(self, spec: NodeSpec) -> Results:
        """Let a node finish and take what it gives through the rest of the loop."""
        results = Results()
        number = 0
        try:
            async for value in self.nodes.finish(spec):
                item_id = f"{self.job}.{spec.id}:finish.{number}"
                outcomes = {spec.id: settled(spec, {}, value)}
                await self._stage(Evaluation(self.plan.stages[spec.id], item_id, outcomes), results, 1)
                number += 1
        except Failure as error:
            await self._fail(Task(spec, f"{self.job}.{spec.id}:finish.{number}", {}), error, results, 1)
        return results

    async def _stage(self, evaluation: Evaluation, results: Results, attempt: int) -> None:
        ran: dict[str, Task] = {}
        while task := evaluation.next():
            if task.spec.kind is Kind.WRITER:
                await self._write(evaluation, task, ran, results, attempt)
                continue
            ran[task.spec.id] = task
            if not task.spec.fans_out:
                await self._call(evaluation, task, results, attempt)
        for task in (task for task in ran.values() if task.spec.fans_out):
            await self._fan_out(evaluation, task, results, attempt)

    async def _fan_out(self, evaluation: Evaluation, task: Task, results: Results, attempt: int) -> None:
        number = 0
        try:
            found = await ready(evaluation, task, self.plan.source, self.job)
            if found is None:
                return
            async for value in self.nodes.fan_out(found[1], attempt):
                await self._stage(evaluation.child(task, number, value), results, attempt)
                number += 1
            results.count(done_count(task.spec.id))
        except Failure as error:
            await self._fail(task, error, results, attempt)

    async def _call(self, evaluation: Evaluation, task: Task, results: Results, attempt: int) -> None:
        try:
            found = await ready(evaluation, task, self.plan.source, self.job)
            if found is None:
                return
            task, call = found
            evaluation.done(task, await self.nodes.call(call, attempt))
            results.count(done_count(task.spec.id))
        except Failure as error:
            evaluation.failed(task)
            await self._fail(task, error, results, attempt)

    async def _write(
        self, evaluation: Evaluation, task: Task, ran: Mapping[str, Task], results: Results, attempt: int
    ) -> None:
        """Push what a node gave; one whose output can't travel has failed."""
        queue = task.spec.target.queue
        source = next(iter(task.spec.edges.values())).source
        try:
            data = await self.packing.push(queue, task.item_id, task.arguments["value"])
        except BlobStoreError as error:
            giver = self.plan.source(source)
            if giver.on_blob_error == "fail":
                await self._fail_source(evaluation, task, ran, blamed(error, giver.id, self.job), results, attempt)
            else:
                _log.warning("item %s: what %r gave doesn't go to queue %r: %s", task.item_id, source, queue, error)
        except PayloadError as error:
            refused = PayloadError(error.path, f"{error.reason}; so it can't go to queue {queue!r}")
            await self._fail_source(evaluation, task, ran, refused, results, attempt)
        except StorageError:
            raise
        except Exception as error:  # whatever a value does when it is looked at
            await self._fail_source(evaluation, task, ran, error, results, attempt)
        else:
            if data is not None:
                results.push(queue, data)

    async def _fail_source(
        self,
        evaluation: Evaluation,
        task: Task,
        ran: Mapping[str, Task],
        error: Exception,
        results: Results,
        attempt: int,
    ) -> None:
        source = next(iter(task.spec.edges.values())).source
        results.count(done_count(source), -1)
        failed = ran.get(source) or Task(self.plan.nodes[source], task.item_id, {})
        evaluation.failed(failed)
        await self._fail(failed, error, results, attempt)

    async def _fail(self, task: Task, error: BaseException, results: Results, attempt: int) -> None:
        results.fail(task.spec.id, await self.packing.letter(task, error, attempt))
