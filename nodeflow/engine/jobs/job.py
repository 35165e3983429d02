"""What a job tells: how far it is while it runs, and what came of it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Protocol

from attrs import frozen

from nodeflow.errors import LoopDiedError


class JobStatus(enum.StrEnum):
    """What has become of a job."""

    RUNNING = "running"
    DRAINED = "drained"
    """A signal has stopped it; the next run goes on with it."""
    STOPPED = "stopped"
    """A node has stopped it, or a process died again and again; the next run goes on with it."""
    DONE = "done"
    REQUEUED = "requeued"
    """It was done, and dead letters of it were requeued, or removed though something waits for them; the next run goes
    on with it."""


@frozen
class NodeCount:
    """How many items a node has handled and on how many it raised."""

    done: int = 0
    failed: int = 0


@frozen(kw_only=True)
class Progress:
    """How far a job is.

    Args:
        nodes: the counts of each node of the user's graph.
        waiting: how many items lie in each channel, and in each loop's own queue (`loop_…`) to be tried again; leased
            ones included.
        seconds: since the job began.
    """

    nodes: Mapping[str, NodeCount]
    waiting: Mapping[str, int]
    seconds: float


@frozen(kw_only=True)
class JobResult:
    """What came of a job.

    Args:
        job: its id.
        nodes: the counts of each node.
        done: the items that the last nodes, which nothing takes from, have handled.
        failed: the items on which a node raised; each lies in the dead letters.
        waiting: what still lies in each channel, when the job was drained before its end.
        seconds: how long it took.
        drained: whether it was told to stop before its input was used up.
    """

    job: str
    nodes: Mapping[str, NodeCount]
    done: int
    failed: int
    waiting: Mapping[str, int]
    seconds: float
    drained: bool = False


class Observer(Protocol):
    """What wants to know how a job goes on."""

    def going_on(self, job: str, status: JobStatus) -> None:
        """Called before the others when the run goes on with a job that was begun before, and left in this status."""

    def progress(self, progress: Progress) -> None:
        """Called several times a second."""

    def draining(self) -> None:
        """Called for each signal: the first one drains the job, a second one ends it at once."""

    def restarting(self, death: LoopDiedError, seconds: float) -> None:
        """Called when a process has died and is started again in so many seconds."""

    def output(self, slot: str, text: str, *, is_error: bool) -> None:
        """Called for each line that a process of a loop writes, without the line's end."""


def going_on_line(job: str, status: JobStatus) -> str:
    """How it is said that a run goes on with a job that was left in this status."""
    left = {
        JobStatus.RUNNING: "whose supervisor died",
        JobStatus.DRAINED: "that was drained",
        JobStatus.STOPPED: "that was stopped",
        JobStatus.DONE: "of which dead letters were requeued or removed",
        JobStatus.REQUEUED: "of which dead letters were requeued or removed",
    }
    return f"goes on with job {job}, {left[status]}; --fresh discards it instead"
