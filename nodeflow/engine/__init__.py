"""Runs graphs: one node at a time, or as isolated loops in processes of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodeflow.lazy import from_modules

if TYPE_CHECKING:
    from nodeflow.engine.development import PlannedRun, StepPlan, StepResult
    from nodeflow.engine.engine import FlowEngine
    from nodeflow.engine.job import JobResult, JobStatus, NodeCount, Observer, Progress
    from nodeflow.engine.kept import KeptItem, KeptOutput, value_of
    from nodeflow.engine.letterfilter import LetterFilter
    from nodeflow.engine.loading import GraphSource, load_graph
    from nodeflow.engine.records import JobRecord
    from nodeflow.engine.status import NodeStatus, State

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
        "JobRecord": "records",
        "JobResult": "job",
        "JobStatus": "job",
        "KeptItem": "kept",
        "KeptOutput": "kept",
        "LetterFilter": "letterfilter",
        "NodeCount": "job",
        "NodeStatus": "status",
        "Observer": "job",
        "PlannedRun": "development",
        "Progress": "job",
        "State": "status",
        "StepPlan": "development",
        "StepResult": "development",
        "load_graph": "loading",
        "value_of": "kept",
    },
)
