"""Which classes the values of a graph may have: those in the modules of its nodes."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from types import FunctionType, ModuleType
from typing import Any

from nodeflow.graph.graph import Graph
from nodeflow.graph.kinds import Node
from nodeflow.graph.modules import is_own, module_name
from nodeflow.values import declare


def declare_types(graph: Graph) -> None:
    """Let instances of the classes in a graph's own modules be kept and sent.

    Those modules are the ones of its nodes, and whatever of the user's own these have imported.
    """
    seen: set[str] = set()
    for spec in graph.nodes.values():
        _declare(_namespace_of(spec.target), seen)


def _namespace_of(target: Any) -> Mapping[str, Any]:
    if isinstance(target, Node):
        return vars(sys.modules[type(target).__module__])
    function = inspect.unwrap(target)
    found: Mapping[str, Any] = getattr(function, "__globals__", {})
    return found


def _declare(namespace: Mapping[str, Any], seen: set[str]) -> None:
    name = module_name(namespace)
    if name in seen:
        return
    seen.add(name)
    declare(name, namespace)
    for value in list(namespace.values()):
        module = value if isinstance(value, ModuleType) else None
        if isinstance(value, type | FunctionType):
            module = sys.modules.get(value.__module__)
        if module is not None and is_own(vars(module)):
            _declare(vars(module), seen)
