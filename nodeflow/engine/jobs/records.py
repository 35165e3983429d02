"""The record of a job: what it is, who runs it, and what came of it; written by its supervisor."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from attrs import evolve, field, frozen

from nodeflow.engine.jobs.job import JobStatus, NodeCount

_ITEM_OF_JOB = re.compile(r"(\d{8}T\d{6}-[0-9a-f]{6})\.")


def job_of_item(item: str) -> str:
    """The job whose producer an item came from; empty for what other programs pushed."""
    found = _ITEM_OF_JOB.match(item)
    return found[1] if found is not None else ""


@frozen(kw_only=True)
class JobRecord:
    """One execution of a graph.

    Args:
        id: sorts by the time at which it began.
        graph: the graph's name.
        source: `FILE:name` of the graph.
        status: what has become of it.
        host: the machine on which its supervisor runs, or ran last.
        pid: the process id of that.
        started: when it began.
        ended: when it ended, or was stopped last.
        runs: how often it was run: 1 when it went through at once.
        deaths: how many of its processes died.
        nodes: the counts of each node, when it ended.
        why: why it was stopped.
        shards: in how many processes each producer gives its values: that can't change within a job.
        slots: in how many processes each loop with `by=` is: that can't change while items wait for one of them.
        queues: the queues of its loops: what lies there must have a loop to go on with it.
    """

    id: str
    graph: str
    source: str
    status: JobStatus = JobStatus.RUNNING
    host: str = field(factory=socket.gethostname)
    pid: int = field(factory=os.getpid)
    started: datetime = field(factory=lambda: datetime.now(UTC))
    ended: datetime | None = None
    runs: int = 1
    deaths: int = 0
    nodes: Mapping[str, NodeCount] = field(factory=dict)
    why: str = ""
    shards: Mapping[str, int] = field(factory=dict)
    slots: Mapping[str, int] = field(factory=dict)
    queues: tuple[str, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether nothing of it is left to be done."""
        return self.status is JobStatus.DONE

    @property
    def is_interrupted(self) -> bool:
        """Whether its supervisor was killed, on this machine: the next run goes on with it."""
        if self.status is not JobStatus.RUNNING or self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False

    @classmethod
    def new(cls, graph: str, source: str, shards: Mapping[str, int]) -> JobRecord:
        """The record of a job that begins now."""
        job = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:6]}"
        return cls(id=job, graph=graph, source=source, shards=shards)

    def again(self, source: str) -> JobRecord:
        """The record of the job as it is gone on with now, by this process."""
        status, host, pid = JobStatus.RUNNING, socket.gethostname(), os.getpid()
        return evolve(self, source=source, status=status, host=host, pid=pid, ended=None, runs=self.runs + 1, why="")

    def to_data(self) -> dict[str, Any]:
        """As it is kept."""
        return {
            "id": self.id,
            "graph": self.graph,
            "source": self.source,
            "status": self.status.value,
            "host": self.host,
            "pid": self.pid,
            "started": self.started.isoformat(timespec="milliseconds"),
            "ended": self.ended.isoformat(timespec="milliseconds") if self.ended else None,
            "runs": self.runs,
            "deaths": self.deaths,
            "nodes": {node: [count.done, count.failed] for node, count in self.nodes.items()},
            "why": self.why,
            "shards": dict(self.shards),
            "slots": dict(self.slots),
            "queues": list(self.queues),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> JobRecord:
        """From how it is kept."""
        return cls(
            id=data["id"],
            graph=data["graph"],
            source=data["source"],
            status=JobStatus(data["status"]),
            host=data["host"],
            pid=data["pid"],
            started=datetime.fromisoformat(data["started"]),
            ended=datetime.fromisoformat(data["ended"]) if data["ended"] else None,
            runs=data["runs"],
            deaths=data["deaths"],
            nodes={node: NodeCount(*counts) for node, counts in data["nodes"].items()},
            why=data["why"],
            shards=data["shards"],
            slots=data["slots"],
            queues=tuple(data.get("queues", ())),
        )
