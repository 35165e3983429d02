"""A graph as JSON and as a Mermaid flowchart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nodeflow.graph.loop import Loop
from nodeflow.graph.names import innermost
from nodeflow.graph.roles import Kind
from nodeflow.graph.spec import Constant, Edge, NodeSpec

if TYPE_CHECKING:
    from nodeflow.graph.graph import Graph

_SHAPES = {
    Kind.PRODUCER: '(["{}"])',
    Kind.BLOCKING: '["{}"]',
    Kind.NON_BLOCKING: '[["{}"]]',
    Kind.LOGICAL: '{{"{}"}}',
    Kind.COLLECT: '[/"{}"/]',
    Kind.READER: '[/"{}"\\]',
    Kind.WRITER: '[\\"{}"/]',
}
_ENTITIES = str.maketrans({mark: f"#{ord(mark)};" for mark in '#"<>`&\\\n\r'})


def to_json(graph: Graph) -> str:
    """The graph as JSON text; a constant that JSON can't hold as it is, is given by its repr."""
    content = {
        "name": graph.name,
        "loops": [_loop(loop) for loop in graph.loops.values()],
        "nodes": [_node(spec) for spec in graph.nodes.values()],
    }
    return json.dumps(content, indent=2, allow_nan=False)


def to_mermaid(graph: Graph) -> str:
    """The graph as the text of a Mermaid flowchart (https://mermaid.js.org/syntax/flowchart.html)."""
    names = {node: f"n{number}" for number, node in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for number, loop in enumerate(graph.loops.values()):
        times = f" x{loop.processes}" if loop.processes > 1 else ""
        lines.append(f'  subgraph l{number}["{_escaped(loop.name)}{times}"]')
        lines += [
            f"    {names[spec.id]}{_SHAPES[spec.kind].format(_escaped(spec.id))}"
            for spec in graph.nodes.values()
            if spec.loop == loop.name
        ]
        lines.append("  end")
    for spec in graph.nodes.values():
        for port, edge in spec.edges.items():
            label = port if edge.branch is None else f"{edge.branch} → {port}"
            lines.append(f'  {names[edge.source]} -->|"{_escaped(label)}"| {names[spec.id]}')
    return "\n".join(lines)


def _loop(loop: Loop) -> dict[str, Any]:
    content = {"name": loop.name, "processes": loop.processes}
    return content if loop.by is None else content | {"by": loop.by if isinstance(loop.by, str) else _target(loop.by)}


def _node(spec: NodeSpec) -> dict[str, Any]:
    content = {
        "id": spec.id,
        "kind": str(spec.kind),
        "loop": spec.loop,
        "target": _target(spec.target),
        "ports": [{"name": port.name, "required": port.required} for port in spec.ports],
        "inputs": {port: _input(source) for port, source in spec.inputs.items()},
        "fans_out": spec.fans_out,
        "location": str(spec.location) if spec.location else None,
    }
    return content | ({"queue": spec.target.queue} if spec.kind in (Kind.READER, Kind.WRITER) else {})


def _target(target: Any) -> str:
    named = innermost(target)
    named = named if hasattr(named, "__qualname__") else type(named)
    return ".".join(part for part in (named.__module__, named.__qualname__) if part)


def _input(source: Edge | Constant) -> dict[str, Any]:
    if isinstance(source, Edge):
        return {"from": source.source} | ({"branch": source.branch} if source.branch else {})
    return {"constant": source.value if _is_json(source.value) else repr(source.value)}


def _is_json(value: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError, RecursionError):
        return False


def _escaped(text: str) -> str:
    return text.translate(_ENTITIES)
