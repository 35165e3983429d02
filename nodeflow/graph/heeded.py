"""Which options of `@node(…)` mean nothing to a node, and what to do instead."""

from __future__ import annotations

from nodeflow.errors import GraphError
from nodeflow.graph.roles import Kind
from nodeflow.graph.spec import NodeSpec


def check_heeded(spec: NodeSpec) -> None:
    """Refuse options that a node would pass over in silence.

    Raises:
        GraphError: it has some.
    """
    for name, why in _unheeded(spec).items():
        if name in spec.options.said:
            raise GraphError(f"{spec.id!r} has @node({name}=…), {why}")


def _unheeded(spec: NodeSpec) -> dict[str, str]:
    found: dict[str, str] = {}
    if spec.kind is not Kind.NON_BLOCKING:
        why = "which only a NonBlockingNode heeds: leave it out, or make it such a class, with an `async def execute`"
        found |= {"max_in_flight": why, "ordered": why}
    elif spec.fans_out:
        why = "but its execute() is a generator, for which the loop waits: leave it out, or return a list of the values"
        found |= {"max_in_flight": why, "ordered": why}
    if spec.kind is not Kind.PRODUCER:
        why = "which only a producer heeds, and this takes what other nodes give: leave it out"
        found |= {"live": why, "shardable": why}
    elif not spec.has_finish:
        found["retry"] = (
            "but a producer that raises is started again with its process, behind the values that it gave: leave it "
            "out, and catch in the producer what it can go on after"
        )
    return found
