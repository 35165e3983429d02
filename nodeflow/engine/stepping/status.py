"""Which kept outputs are fresh, which are stale and why."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime

from attrs import field, frozen

from nodeflow.engine.stepping.kept import KeptOutput, Sample
from nodeflow.graph import Graph, NodeSpec, changes, fingerprint


class State(enum.StrEnum):
    """What a kept output is worth."""

    FRESH = "fresh"
    STALE = "stale"
    MISSING = "missing"
    NOT_KEPT = "not kept"


@frozen(kw_only=True)
class NodeStatus:
    """The kept output of one node.

    Args:
        node: the node's id.
        loop: the name of its loop.
        state: what the output is worth.
        why: what made it stale, or why it isn't kept.
        items: how many items are kept.
        sample: how many values of which producers and fan-outs were taken, where there may be more; empty for all.
        size: bytes.
        at: when it was made.
        seconds: how long that took.
    """

    node: str
    loop: str
    state: State
    why: tuple[str, ...] = ()
    items: int = 0
    sample: Sample = field(factory=dict)
    size: int = 0
    at: datetime | None = None
    seconds: float | None = None


def statuses(graph: Graph, kept: Mapping[str, KeptOutput]) -> dict[str, NodeStatus]:
    """What the kept output of each node is worth.

    Args:
        graph: the graph as it was written.
        kept: the kept outputs by node.
    """
    found: dict[str, NodeStatus] = {}
    digests = {node: output.digest for node, output in kept.items()}
    for spec in graph.nodes.values():
        output = kept.get(spec.id)
        now = fingerprint_of(spec, graph) if output else {}
        found[spec.id] = _status(spec, output, now, found, digests) if output else _missing(spec)
    return found


def fingerprint_of(spec: NodeSpec, graph: Graph) -> dict[str, str]:
    """What a node of a graph depends on, and a digest of each: what divides its loop's items included."""
    by = graph.loops[spec.loop].by
    return fingerprint(spec.target, spec.constants if by is None else {**spec.constants, "loop by": by})


def input_digests(spec: NodeSpec, digests: Mapping[str, str]) -> dict[str, list[str]]:
    """What a node takes, by port: the source (and its branch), and the digest of its kept output."""
    return {
        port: [edge.source if edge.branch is None else f"{edge.source}.{edge.branch}", digests.get(edge.source, "")]
        for port, edge in spec.edges.items()
    }


def _missing(spec: NodeSpec) -> NodeStatus:
    return NodeStatus(node=spec.id, loop=spec.loop, state=State.MISSING)


def _status(
    spec: NodeSpec,
    output: KeptOutput,
    now: Mapping[str, str],
    found: Mapping[str, NodeStatus],
    digests: Mapping[str, str],
) -> NodeStatus:
    if output.reason:
        return NodeStatus(
            node=spec.id,
            loop=spec.loop,
            state=State.NOT_KEPT,
            why=(output.reason,),
            at=output.at,
            seconds=output.seconds if output.at else None,
        )
    why = [*changes(output.fingerprint, now)]
    why += _input_changes(spec, output, found, digests)
    return NodeStatus(
        node=spec.id,
        loop=spec.loop,
        state=State.STALE if why else State.FRESH,
        why=tuple(why),
        items=output.count,
        sample=output.sample,
        size=output.size,
        at=output.at,
        seconds=output.seconds,
    )


def _input_changes(
    spec: NodeSpec, output: KeptOutput, found: Mapping[str, NodeStatus], digests: Mapping[str, str]
) -> list[str]:
    reasons = []
    now = input_digests(spec, digests)
    for port in sorted({*now, *output.inputs}):
        before, after = output.inputs.get(port), now.get(port)
        if before is None or after is None or before[0] != after[0]:
            reasons.append(f"port {port} is wired to {after[0] if after else 'nothing'} now")
            continue
        source = spec.edges[port].source
        if found[source].state is not State.FRESH:
            reasons.append(f"{source} is {found[source].state}")
        elif before[1] != after[1]:
            reasons.append(f"{source} gave other data")
    return reasons
