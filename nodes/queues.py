"""The two ends of a queue between loops; the engine leases, pushes and acknowledges for them."""

from __future__ import annotations

from nodeflow.graph import QueueHead, QueueTail


class QueueReader(QueueHead):
    """Heads a loop with the items of a queue.

    Wired to a `QueueWriter` of another loop it is the other end of that writer's queue. By itself it needs a
    name, and gives whatever JSON value lies in that queue, for as long as the job runs.

    Args:
        queue: the queue's name; None lets `QueueMapper` name it after the nodes at its ends.
    """


class QueueWriter(QueueTail):
    """Puts what its input gives into a queue.

    Args:
        queue: the queue's name; None lets `QueueMapper` name it after the nodes at its ends.
    """
