"""What users' own tests need: a graph run in one process, without a server."""

from nodeflow.testing.running import GraphRun, run_graph

__all__ = ["GraphRun", "run_graph"]
