"""Refusals: what a loop can do nothing with is a dead letter, and counts as failed until it is requeued."""

from __future__ import annotations

from nodeflow.engine.core.results import Results, refused_count
from nodeflow.storage import Item

_REFUSED = "refused: "


class RefusedError(Exception):
    """An item is nothing that the loop could work on.

    Args:
        why: the reason.
    """

    def __init__(self, why: str) -> None:
        super().__init__(f"{_REFUSED}{why}")


def is_refused(item: Item) -> bool:
    """Whether an item was refused before, and requeued."""
    return item.error.startswith(_REFUSED)


def uncount_refusal(item: Item, loop: str, results: Results) -> None:
    """An item that was refused and requeued counts as failed no more, unless it is refused again."""
    if is_refused(item):
        results.count(refused_count(loop), -1)
