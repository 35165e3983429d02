"""Passes over a finished graph before it runs: ordered, idempotent."""

from postprocess.node_validator import NodeValidator
from postprocess.passes import Pass, apply_passes
from postprocess.queue_mapper import QueueMapper

__all__ = ["NodeValidator", "Pass", "QueueMapper", "apply_passes"]
