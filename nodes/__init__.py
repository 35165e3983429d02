"""Ready-made nodes for nodeflow graphs."""

from nodes.gathering import Collect, FirstOf
from nodes.queues import QueueReader, QueueWriter

__all__ = ["Collect", "FirstOf", "QueueReader", "QueueWriter"]
