"""What a node is called with: the values of references, read once for an item, or the handles where it wants them."""

from __future__ import annotations

import logging
from collections.abc import Callable

from nodeflow.engine.evaluation import Evaluation, Task
from nodeflow.errors import BlobError, BlobStoreError
from nodeflow.graph import NodeSpec
from nodeflow.values import RefValue

_log = logging.getLogger(__name__)


class UnreadableError(Exception):
    """What a port takes can't be read.

    Args:
        port: the port.
        error: why.
    """

    def __init__(self, port: str, error: BlobError | BlobStoreError) -> None:
        super().__init__(port, error)
        self.port, self.error = port, error


async def call_of(evaluation: Evaluation, task: Task) -> Task:
    """The task as the node is called.

    Args:
        evaluation: what knows the values of references that were read already.
        task: the task; what it takes may be references.

    Raises:
        UnreadableError: a blob can't be read.
        PayloadError: a value can't be read.
    """
    wanted = task.spec.ref_ports
    if not wanted and not any(isinstance(value, RefValue) for value in task.arguments.values()):
        return task
    found = {}
    for port, value in task.arguments.items():
        if port in wanted:
            found[port] = value if isinstance(value, RefValue) else RefValue.of(value, hint="memory")
        elif isinstance(value, RefValue):
            if (known := evaluation.was_read(value)) is not None:
                found[port] = known[0]
                continue
            try:
                found[port] = await value.read()
            except (BlobError, BlobStoreError) as error:
                raise UnreadableError(port, error) from error
            evaluation.note_read(value, found[port])
        else:
            found[port] = value
    return Task(task.spec, task.item_id, found)


async def ready(
    evaluation: Evaluation, task: Task, source: Callable[[str], NodeSpec], run: str = ""
) -> tuple[Task, Task] | None:
    """The task, and the task as the node is called; None when it can't run without what can't be read.

    Args:
        evaluation: what has been given so far for its item.
        task: the task.
        source: the node that gave what a node of the loop gives.
        run: the job's id; empty in development mode.

    Raises:
        BlobError: a blob is missing or damaged; it names the node that gave the value, and the run.
        BlobStoreError: the place of the blobs can't be read.
        PayloadError: a value can't be read.
    """
    while True:
        try:
            return task, await call_of(evaluation, task)
        except UnreadableError as failure:
            giver = source(task.spec.edges[failure.port].source)
            error = blamed(failure.error, giver.id, run)
            if giver.on_blob_error == "fail":
                raise error from None
            _log.warning("item %s goes on without what %r gave: %s", task.item_id, giver.id, error)
            left = evaluation.without(task, failure.port)
            if left is None:
                return None
            task = left


def blamed(error: BlobError | BlobStoreError, node: str, run: str) -> BlobError | BlobStoreError:
    """The error with the node that gave the value, and the run."""
    if isinstance(error, BlobError):
        error.node, error.run = node, run
    else:
        error.add_note(f"It concerns what node {node!r} gave{f' in run {run}' if run else ''}.")
    return error
