"""Calls of a node in development mode: tried again, and their errors taken, as its options say."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

import anyio

from nodeflow.engine.evaluation import Outcome, settled
from nodeflow.engine.failures import Failure, is_nodes_own
from nodeflow.engine.invoke import Nodes
from nodeflow.engine.work import Again
from nodeflow.graph import NodeSpec


async def outcome_of(
    spec: NodeSpec,
    nodes: Nodes,
    item_id: str,
    given: Mapping[str, Any],
    arguments: Mapping[str, Any],
    branches: frozenset[str],
) -> Outcome:
    """What a node gives.

    Args:
        spec: the node.
        nodes: calls it.
        item_id: the item's id.
        given: what it was given.
        arguments: what it is called with.
        branches: those that it may choose, when it is a logical node.

    Raises:
        Exception: the node's, when it is left to the dead letters.
        StoppedError: the job would stop.
    """
    attempt = 1
    while True:
        try:
            outcome = settled(spec, given, await nodes.call(spec, arguments, item_id, attempt), branches)
        except BaseException as error:
            failure = _failure(spec, nodes, item_id, given, error, attempt)
        else:
            _keep(spec, nodes)
            return outcome
        if failure.delay is None:
            return failure.outcome
        await anyio.sleep(failure.delay)
        attempt += 1


async def outcomes_of(
    spec: NodeSpec,
    nodes: Nodes,
    item_id: str,
    given: Mapping[str, Any],
    start: Callable[[int], AsyncGenerator[Any, None]],
) -> AsyncGenerator[Outcome, None]:
    """The values of a generator; those before an error stay, and are dropped when it is run again.

    The arguments and errors are those of `outcome_of`.

    Args:
        start: begins an attempt, the how many-th it is.
    """
    number, attempt = 0, 1
    while True:
        place = 0
        async with aclosing(start(attempt)) as values:
            try:
                while True:
                    value = await anext(values, _END)
                    outcome = _END if value is _END else settled(spec, given, value)
                    if outcome is _END:
                        return
                    if place == number:
                        yield outcome
                        number += 1
                    place += 1
            except GeneratorExit:
                raise
            except BaseException as error:
                failure = _failure(spec, nodes, item_id, given, error, attempt)
            finally:
                _keep(spec, nodes)
        if failure.delay is None:
            return
        await anyio.sleep(failure.delay)
        attempt += 1


def _failure(
    spec: NodeSpec, nodes: Nodes, item_id: str, given: Mapping[str, Any], error: BaseException, attempt: int
) -> Failure:
    """What becomes of an error of a node; raises that which is left."""
    if not is_nodes_own(error):
        raise error
    nodes.undo(spec)
    failure = Failure.of(spec, item_id, Again(node=spec.id, given=given, attempt=attempt), error)
    if failure.delay is None and failure.is_left:
        raise error
    return failure


def _keep(spec: NodeSpec, nodes: Nodes) -> None:
    """What the node remembers now stays, whatever comes."""
    if (state := nodes.state(spec)) is not None:
        state.keep(state.changes())
    nodes.pushed.clear()


_END: Any = object()
