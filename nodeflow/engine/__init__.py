"""Runs graphs: one node at a time, or as isolated loops in processes of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodeflow.lazy import from_modules

if TYPE_CHECKING:
    from nodeflow.engine.engine import FlowEngine
    from nodeflow.engine.jobs.job import JobResult, JobStatus, NodeCount, Observer, Progress
    from nodeflow.engine.jobs.letterfilter import LetterFilter
    from nodeflow.engine.jobs.records import JobRecord
    from nodeflow.engine.loading import GraphSource, load_graph
    from nodeflow.engine.stepping.development import PlannedRun, StepPlan, StepResult
    from nodeflow.engine.stepping.kept import KeptItem, KeptOutput, value_of
    from nodeflow.engine.stepping.status import NodeStatus, State

__all__ = [
    "FlowEngine",
    "GraphSource",
    "JobRecord",
    "JobResult",
    "JobStatus",
    "KeptItem",
    "KeptOutput",
    "LetterFilter",
    "NodeCount",
    "NodeStatus",
    "Observer",
    "PlannedRun",
    "Progress",
    "State",
    "StepPlan",
    "StepResult",
    "load_graph",
    "value_of",
]

__getattr__ = from_modules(
    __name__,
    {
        "FlowEngine": "engine",
        "GraphSource": "loading",
        "JobRecord": "jobs.records",
        "JobResult": "jobs.job",
        "JobStatus": "jobs.job",
        "KeptItem": "stepping.kept",
        "KeptOutput": "stepping.kept",
        "LetterFilter": "jobs.letterfilter",
        "NodeCount": "jobs.job",
        "NodeStatus": "stepping.status",
        "Observer": "jobs.job",
        "PlannedRun": "stepping.development",
        "Progress": "jobs.job",
        "State": "stepping.status",
        "StepPlan": "stepping.development",
        "StepResult": "stepping.development",
        "load_graph": "loading",
        "value_of": "stepping.kept",
    },
)
