"""Calls of a node in development mode: tried again, and their errors taken, as its options say."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import anyio
from attrs import frozen

from nodeflow.engine.calls.invoke import Nodes
from nodeflow.engine.core.evaluation import Absent, Branches, Outcome, settled
from nodeflow.engine.core.failures import Failure, is_nodes_own
from nodeflow.engine.core.stages import Write
from nodeflow.engine.core.work import Again
from nodeflow.engine.way.packing import check_sent
from nodeflow.graph import Kind, NodeSpec


@frozen
class Attempts:
    """Calls of a node; what it gives, or remembers, that can't be sent or kept counts as an error of it.

    Args:
        spec: the node.
        nodes: calls it.
        writes: the queues into which what it gives goes in production.
        branches: those that it may choose, when it is a logical node.
    """

    spec: NodeSpec
    nodes: Nodes
    writes: Sequence[Write]
    branches: frozenset[str] = frozenset()

    async def outcome(self, item_id: str, given: Mapping[str, Any], arguments: Mapping[str, Any]) -> Outcome:
        """What the node gives.

        Args:
            item_id: the item's id.
            given: what it was given.
            arguments: what it is called with.

        Raises:
            Exception: the node's, when it is left to the dead letters.
            StoppedError: the job would stop.
        """
        attempt = 1
        while True:
            try:
                result = await self.nodes.call(self.spec, arguments, item_id, attempt)
                outcome = settled(self.spec, given, result, self.branches)
                await self._check(item_id, outcome)
                self._keep()
            except BaseException as error:
                failure = await self._failure(item_id, given, error, attempt)
            else:
                return outcome
            if failure.delay is None:
                return failure.outcome
            await anyio.sleep(failure.delay)
            attempt += 1

    async def outcomes(
        self, item_id: str, given: Mapping[str, Any], start: Callable[[int], AsyncGenerator[Any, None]]
    ) -> AsyncGenerator[Outcome, None]:
        """The values of a generator; those before an error stay, and are dropped when it is run again.

        The arguments and errors are those of `outcome`.

        Args:
            start: begins an attempt, the how many-th it is.
        """
        number, attempt = 0, 1
        while True:
            place = 0
            async with aclosing(start(attempt)) as values:
                try:
                    while (value := await anext(values, _END)) is not _END:
                        outcome = settled(self.spec, given, value)
                        if place == number:
                            yield await self._sent(f"{item_id}.{number}", outcome)
                            number += 1
                        place += 1
                    self._keep()
                    return
                except GeneratorExit:
                    self._keep()
                    raise
                except BaseException as error:
                    failure = await self._failure(item_id, given, error, attempt)
            if failure.delay is None:
                return
            await anyio.sleep(failure.delay)
            attempt += 1

    async def _sent(self, item_id: str, outcome: Outcome) -> Outcome:
        """A value as it goes on: what a producer gave that can't be sent counts for itself alone."""
        try:
            await self._check(item_id, outcome)
        except Exception as error:
            if self.spec.kind is not Kind.PRODUCER:
                raise
            return (await self._failure(item_id, {self.spec.id: outcome}, error, 1)).outcome
        return outcome

    async def _check(self, item_id: str, outcome: Outcome) -> None:
        for write in self.writes:
            await check_sent(write, item_id, write.taken(outcome))

    async def _failure(self, item_id: str, given: Mapping[str, Any], error: BaseException, attempt: int) -> Failure:
        """What becomes of an error of the node; raises that which is left."""
        if not is_nodes_own(error):
            raise error
        self.nodes.undo(self.spec)
        failure = Failure.of(self.spec, item_id, Again(node=self.spec.id, given=given, attempt=attempt), error)
        if failure.outcome is Absent.FAILED:
            raise error
        if isinstance(failure.outcome, Branches):
            await self._check(item_id, failure.outcome)
        return failure

    def _keep(self) -> None:
        """What the node remembers now stays, whatever comes."""
        if (state := self.nodes.state(self.spec)) is not None:
            state.keep(state.changes())
        self.nodes.pushed.clear()


_END: Any = object()
