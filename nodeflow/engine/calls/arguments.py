"""What a node is called with: the values of references, read once for an item, or the handles where it wants them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nodeflow.engine.core.evaluation import Absent, Branches, Outcome
from nodeflow.errors import BlobError, BlobStoreError
from nodeflow.graph import NodeSpec
from nodeflow.values import RefValue

_log = logging.getLogger(__name__)


class Reads:
    """The values of references that were read for an item: each once, and kept for as long as the item is under way.

    Args:
        outcomes: what nodes gave for the item.
        outer: that of the item from which this one was fanned out.
    """

    def __init__(self, outcomes: Sequence[Outcome], outer: Reads | None = None) -> None:
        self._outcomes, self._outer = outcomes, outer
        self._read: list[tuple[RefValue, Any]] = []

    async def value(self, ref: RefValue) -> Any:
        """What a reference refers to.

        Raises:
            BlobError: the blob is missing or damaged.
            BlobStoreError: the place of the blobs can't be read.
            PayloadError: the value can't be read.
        """
        owner = self
        while owner._outer is not None and owner._outer._holds(ref):
            owner = owner._outer
        for known, value in owner._read:
            if known is ref:
                return value
        value = await ref.read()
        owner._read.append((ref, value))
        return value

    def _holds(self, ref: RefValue) -> bool:
        for outcome in self._outcomes:
            if outcome is ref or (isinstance(outcome, Branches) and any(v is ref for v in outcome.values.values())):
                return True
        return False


async def readable(
    spec: NodeSpec,
    given: Mapping[str, Any],
    reads: Reads,
    source: Callable[[str], NodeSpec],
    *,
    item: str,
    job: str = "",
) -> tuple[dict[str, Any], dict[str, Any]] | Absent:
    """What goes on of what a node is given, and what it is called with; or why it isn't called.

    Args:
        spec: the node.
        given: what it takes, by port; there may be references.
        reads: what knows the values of references that were read already.
        source: the node that gave what a node of the loop gives.
        item: the item's id.
        job: the job's id; empty in development mode.

    Raises:
        BlobError: a blob is missing or damaged; it names the node that gave the value, and the run.
        BlobStoreError: the place of the blobs can't be read.
        PayloadError: a value can't be read.
    """
    left, found = dict(given), {}
    for port, value in given.items():
        try:
            found[port] = await _as_wanted(spec, port, value, reads)
        except (BlobError, BlobStoreError) as failure:
            giver = source(spec.edges[port].source)
            error = blamed(failure, giver.id, job)
            if giver.options.on_blob_error == "fail":
                raise error from None
            _log.warning("item %s goes on without what %r gave: %s", item, giver.id, error)
            del left[port]
    if len(left) < len(given) and (not left or any(port not in left for port in spec.required & spec.edges.keys())):
        return Absent.SKIPPED
    return left, found


async def _as_wanted(spec: NodeSpec, port: str, value: Any, reads: Reads) -> Any:
    if port in spec.ref_ports:
        return value if isinstance(value, RefValue) else RefValue.of(value, hint="memory")
    return await reads.value(value) if isinstance(value, RefValue) else value


def blamed(error: BlobError | BlobStoreError, node: str, run: str) -> BlobError | BlobStoreError:
    """The error with the node that gave the value, and the run."""
    if isinstance(error, BlobError):
        error.node, error.run = node, run
    else:
        error.add_note(f"It concerns what node {node!r} gave{f' in run {run}' if run else ''}.")
    return error
