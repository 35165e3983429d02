"""Finds a graph in a Python file, and the file of a graph."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType

from attrs import field, frozen

from nodeflow.engine.core.traces import user_trace
from nodeflow.engine.passes import check_packages
from nodeflow.errors import GraphError, UsageError
from nodeflow.graph import Graph

_RELATIVE = "A graph's file is imported by itself, as `python FILE` does it: write absolute imports"

_loading: ContextVar[Path | None] = ContextVar("loading", default=None)


@frozen
class GraphSource:
    """Where a graph can be imported from, in any process.

    Args:
        file: the absolute path of the Python file.
        name: the graph's name in the module.
        folder: the working folder in which it was imported first.
    """

    file: Path
    name: str
    folder: Path = field(factory=Path.cwd)

    def __str__(self) -> str:
        return f"{self.file}:{self.name}"


def load_graph(target: str) -> tuple[Graph, GraphSource]:
    """Import a file, as `python FILE` would find its imports, and take a graph out of it.

    Args:
        target: `FILE` or `FILE:name`; without a name it is the file's only graph, else the one called `graph`.

    Returns:
        the graph, and where it was found.

    Raises:
        UsageError: there is no such file or graph, or the file can't be imported.
    """
    path, name = _split(target)
    folder = Path.cwd()
    module = _import_file(path)
    graphs = {key: value for key, value in vars(module).items() if isinstance(value, Graph)}
    if not name:
        distinct = {id(graph) for graph in graphs.values()}
        name = "graph" if "graph" in graphs or len(distinct) != 1 else next(iter(graphs))
    if name not in graphs:
        known = (
            f"it has {', '.join(graphs)}; say which with {path.name}:NAME" if graphs else "it has none at module level"
        )
        raise UsageError(f"{path} has no graph called {name!r}: {known}")
    return graphs[name], GraphSource(path, name, folder)


def source_of(graph: Graph) -> GraphSource:
    """Where other processes can import a graph from: the module that has it under a name.

    Raises:
        UsageError: no module that comes from a file has it.
    """
    for module in [sys.modules.get("__main__"), *list(sys.modules.values())]:
        file = getattr(module, "__file__", None)
        if file is None or not file.endswith(".py"):
            continue
        for name, value in list(vars(module).items()):
            if value is graph:
                return GraphSource(Path(file).absolute(), name)
    raise UsageError(
        f"graph {graph.name!r} (made at {graph.location}) can't be found by the processes of its loops, which import "
        "its file: write it into a .py file and give it a name at module level, as in `graph = Graph(…)`"
    )


def check_not_loading(call: str) -> None:
    """Refuse a call that a file makes while it is imported for its graph.

    Args:
        call: the call, for the message.

    Raises:
        UsageError: with what to write instead.
    """
    if path := _loading.get():
        raise UsageError(
            f"{path} calls {call} when it is imported, which every process of a loop does: "
            'put the call below `if __name__ == "__main__":`'
        )


def _split(target: str) -> tuple[Path, str]:
    file, separator, name = target.rpartition(":")
    if not separator or not (name.isidentifier() or not name):
        file, name = target, ""
    path = Path(file).absolute()
    if not path.is_file():
        raise UsageError(f"there is no file {file}")
    if path.suffix != ".py":
        raise UsageError(f"{file} is no Python file: its name should end in .py")
    return path, name


def _import_file(path: Path) -> ModuleType:
    name = path.stem
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    if known is not None or name in sys.stdlib_module_names:
        raise UsageError(f"{path.name} has the name of the module {name!r}, which it would hide: give it another name")
    check_packages(path.parent)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _importing(path):
            spec.loader.exec_module(module)
    except (UsageError, GraphError):
        del sys.modules[name]
        raise
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        hint = f"\n{_RELATIVE}" if isinstance(error, ImportError) and "relative import" in str(error) else ""
        raise UsageError(f"{path} can't be imported:\n{user_trace(error)}{hint}") from error
    return module


@contextmanager
def _importing(path: Path) -> Iterator[None]:
    token = _loading.set(path)
    try:
        yield
    finally:
        _loading.reset(token)
