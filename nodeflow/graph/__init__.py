"""The graph in code: nodes, edges, loops. Knows nothing of Redis and runs nothing."""

from nodeflow.graph.branch import Branch
from nodeflow.graph.branches import branch_name, chooses_always, known_branches, origin, said_branches
from nodeflow.graph.context import Context
from nodeflow.graph.fingerprint import changes, fingerprint
from nodeflow.graph.graph import Graph
from nodeflow.graph.kinds import (
    BlockingNode,
    Gatherer,
    LogicalNode,
    Node,
    NonBlockingNode,
    ProducerNode,
    QueueHead,
    QueueTail,
)
from nodeflow.graph.lineage import Lineage, below, entries_of, lineages
from nodeflow.graph.location import Location
from nodeflow.graph.loop import PARTITIONS, By, Loop
from nodeflow.graph.modules import is_users
from nodeflow.graph.options import Options, node
from nodeflow.graph.output import Output
from nodeflow.graph.retry import Retry
from nodeflow.graph.roles import Kind
from nodeflow.graph.spec import Constant, Edge, NodeSpec, Port
from nodeflow.graph.types import declare_types

__all__ = [
    "PARTITIONS",
    "BlockingNode",
    "Branch",
    "By",
    "Constant",
    "Context",
    "Edge",
    "Gatherer",
    "Graph",
    "Kind",
    "Lineage",
    "Location",
    "LogicalNode",
    "Loop",
    "Node",
    "NodeSpec",
    "NonBlockingNode",
    "Options",
    "Output",
    "Port",
    "ProducerNode",
    "QueueHead",
    "QueueTail",
    "Retry",
    "below",
    "branch_name",
    "changes",
    "declare_types",
    "entries_of",
    "fingerprint",
    "is_users",
    "chooses_always",
    "known_branches",
    "lineages",
    "node",
    "origin",
    "said_branches",
]
