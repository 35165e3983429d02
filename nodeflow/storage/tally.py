"""A tally: what became of all that was pushed to a queue."""

from __future__ import annotations

from attrs import frozen


@frozen
class Tally:
    """What became of the items of a queue; `pushed` is the sum of the others.

    What foreign clients push or pop isn't counted. The counts go a week after the last change.

    Args:
        pushed: how many were pushed.
        waiting: how many wait.
        delayed: how many are to wait later.
        leased: how many are leased.
        dead: how many are dead letters.
        discarded: how many were removed without having been handled.
        done: how many were acknowledged or popped.
    """

    pushed: int
    waiting: int
    delayed: int
    leased: int
    dead: int
    discarded: int
    done: int
