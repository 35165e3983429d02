"""nodeflow: write a graph of nodes, step it node by node, run it as isolated processes over Redis queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodeflow.lazy import from_modules

if TYPE_CHECKING:
    from nodeflow.engine import FlowEngine
    from nodeflow.errors import NodeflowError
    from nodeflow.graph import (
        BlockingNode,
        Branch,
        Context,
        Graph,
        LogicalNode,
        NonBlockingNode,
        ProducerNode,
        Retry,
        node,
    )
    from nodeflow.settings import Settings
    from nodeflow.storage import DataStore, Item, Lease
    from nodeflow.values import File, RefValue

__all__ = [
    "Graph",
    "node",
    "ProducerNode",
    "BlockingNode",
    "NonBlockingNode",
    "LogicalNode",
    "Branch",
    "Context",
    "Retry",
    "DataStore",
    "FlowEngine",
    "Item",
    "Lease",
    "RefValue",
    "File",
    "Settings",
    "NodeflowError",
]

__getattr__ = from_modules(
    __name__,
    {
        **dict.fromkeys(__all__, "graph"),
        "DataStore": "storage",
        "File": "values",
        "FlowEngine": "engine",
        "Item": "storage",
        "Lease": "storage",
        "NodeflowError": "errors",
        "RefValue": "values",
        "Settings": "settings",
    },
)


def __dir__() -> list[str]:
    return sorted(__all__)
