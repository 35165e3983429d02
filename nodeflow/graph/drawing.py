"""A graph as JSON and as a Mermaid flowchart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nodeflow.graph.spec import Edge, Kind, NodeSpec

if TYPE_CHECKING:
    from nodeflow.graph.graph import Graph

_SHAPES = {
    Kind.PRODUCER: '(["{}"])',
    Kind.BLOCKING: '["{}"]',
    Kind.NON_BLOCKING: '[["{}"]]',
    Kind.LOGICAL: '{{"{}"}}',
    Kind.READER: '[/"{}"\\]',
    Kind.WRITER: '[\\"{}"/]',
}


def to_json(graph: Graph) -> str:
    """The graph as JSON text; what isn't JSON in a constant is given by its repr."""
    content = {
        "name": graph.name,
        "loops": [{"name": loop.name, "processes": loop.processes} for loop in graph.loops.values()],
        "nodes": [_node(spec) for spec in graph.nodes.values()],
    }
    return json.dumps(content, indent=2, default=repr)


def to_mermaid(graph: Graph) -> str:
    """The graph as the text of a Mermaid flowchart (https://mermaid.js.org/syntax/flowchart.html)."""
    names = {node: f"n{number}" for number, node in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for number, loop in enumerate(graph.loops.values()):
        times = f" x{loop.processes}" if loop.processes > 1 else ""
        lines.append(f'  subgraph l{number}["{loop.name}{times}"]')
        lines += [
            f"    {names[spec.id]}{_SHAPES[spec.kind].format(spec.id)}"
            for spec in graph.nodes.values()
            if spec.loop == loop.name
        ]
        lines.append("  end")
    for spec in graph.nodes.values():
        for port, edge in spec.edges.items():
            label = port if edge.branch is None else f"{edge.branch} → {port}"
            lines.append(f'  {names[edge.source]} -->|"{label}"| {names[spec.id]}')
    return "\n".join(lines)


def _node(spec: NodeSpec) -> dict[str, Any]:
    target = spec.target if hasattr(spec.target, "__qualname__") else type(spec.target)
    return {
        "id": spec.id,
        "kind": str(spec.kind),
        "loop": spec.loop,
        "target": f"{target.__module__}.{target.__qualname__}",
        "inputs": {port: _input(source) for port, source in spec.inputs.items()},
        "location": str(spec.location) if spec.location else None,
    }


def _input(source: Any) -> dict[str, Any]:
    if isinstance(source, Edge):
        return {"from": source.source} | ({"branch": source.branch} if source.branch else {})
    return {"constant": source.value}
