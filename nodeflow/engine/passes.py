"""The passes that every graph goes through; the only place in nodeflow that imports `postprocess`."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from nodeflow.errors import UsageError
from nodeflow.graph import Graph, NodeSpec

_HOME = Path(__file__).parents[2]
_REMEDY = "give yours another name"


def finished(graph: Graph) -> Graph:
    """The graph as it runs: cut into loops by named queues, and found to be right.

    Raises:
        GraphInvalidError: with all problems.
        UsageError: the user's folder hides a package of nodeflow.
    """
    check_packages()
    from postprocess import NodeValidator, QueueMapper, apply_passes

    return apply_passes(graph, [QueueMapper(), NodeValidator()])


def never_none(spec: NodeSpec) -> str:
    """What a node is annotated to give, when None is none of it; empty when it may give None, or doesn't say."""
    from postprocess import returns

    return returns.never_none(spec)


def check_packages(folder: Path | None = None) -> None:
    """Make sure that `nodes` and `postprocess` are nodeflow's own, and load them before others can hide them.

    Args:
        folder: a folder of the user's that is about to be searched for modules first.

    Raises:
        UsageError: a folder or file of the user has one of these names.
    """
    for name in ("nodes", "postprocess"):
        spec = find_spec(name)
        origin = spec.origin or next(iter(spec.submodule_search_locations or []), None) if spec else None
        if origin is None or not Path(origin).is_relative_to(_HOME / name):
            raise UsageError(f"{origin or 'nothing'} stands where nodeflow's own package {name!r} should be: {_REMEDY}")
        import_module(name)
        rivals = [] if folder is None or _is_ours(folder) else [folder / f"{name}.py", folder / name]
        for rival in rivals:
            if rival.exists():
                raise UsageError(f"{rival} has the name of nodeflow's own package {name!r}: {_REMEDY}")


def _is_ours(folder: Path) -> bool:
    """Whether it is a folder of nodeflow itself, a checkout for example."""
    return (folder / "nodeflow" / "__init__.py").is_file()
