"""Endings: why a process ends before its input is used up, without anything being wrong with itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodeflow.errors import JobError, StorageError


class StoppedError(JobError):
    """A node that shall stop the job has raised.

    Args:
        node: the node's id.
        item: the item's id.
        error: what it raised, as it is kept.
    """

    def __init__(self, node: str, item: str, error: Mapping[str, Any]) -> None:
        super().__init__(f"node {node!r} stopped the job on item {item}:\n{error['traceback']}")
        self.node, self.item = node, item


class DrainedError(StorageError):
    """What was to be committed had no room where it goes, and the process was told to stop: it is done again later."""
