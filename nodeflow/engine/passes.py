"""The passes that every graph goes through; the only place in nodeflow that imports `postprocess`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from nodeflow.errors import UsageError
from nodeflow.graph import Graph

_HOME = Path(__file__).parents[2]


def finished(graph: Graph) -> Graph:
    """The graph as it runs: cut into loops by named queues, and found to be right.

    Raises:
        GraphInvalidError: with all problems.
        UsageError: the user's folder hides a package of nodeflow.
    """
    check_packages()
    from postprocess import NodeValidator, QueueMapper, apply_passes

    return apply_passes(graph, [QueueMapper(), NodeValidator()])


def check_packages() -> None:
    """Make sure that `nodes` and `postprocess` are nodeflow's own.

    Raises:
        UsageError: a folder or file of the user hides one of them.
    """
    for name in ("nodes", "postprocess"):
        spec = find_spec(name)
        origin = spec.origin or next(iter(spec.submodule_search_locations or []), None) if spec else None
        if origin is None or not Path(origin).is_relative_to(_HOME / name):
            raise UsageError(
                f"{origin or 'nothing'} stands where nodeflow's own package {name!r} should be: "
                f"rename your {name!r}, or run from a folder that doesn't hold it"
            )
