"""What a job tells: how far it is while it runs, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from attrs import frozen

from nodeflow.errors import LoopDiedError


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
        waiting: how many items lie in each channel, leased ones included.
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

    def progress(self, progress: Progress) -> None:
        """Called several times a second."""

    def draining(self) -> None:
        """Called for each signal: the first one drains the job, a second one ends it at once."""

    def restarting(self, death: LoopDiedError, seconds: float) -> None:
        """Called when a process has died and is started again in so many seconds."""

    def output(self, slot: str, text: str, *, is_error: bool) -> None:
        """Called for each line that a process of a loop writes, without the line's end."""
