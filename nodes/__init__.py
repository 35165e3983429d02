"""Ready-made nodes for nodeflow graphs."""

from nodes.queues import QueueReader, QueueWriter

__all__ = ["QueueReader", "QueueWriter"]
