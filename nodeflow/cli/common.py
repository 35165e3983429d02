"""What all commands share: the argument FILE, the engine behind it, and how amounts are written."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import anyio
import typer

from nodeflow.cli.bars import bars
from nodeflow.engine import FlowEngine, load_graph
from nodeflow.engine.core.traces import safe_text
from nodeflow.errors import PayloadError
from nodeflow.storage import DataStore
from nodeflow.storage.groups import ungrouped
from nodeflow.values import is_plain, to_tree

T = TypeVar("T")

File = Annotated[
    str,
    typer.Argument(
        metavar="FILE[:GRAPH]",
        help="The Python file that has the graph; with several graphs in it, which one (by default 'graph').",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line, for other programs.")]


def with_engine(target: str, work: Callable[[FlowEngine], Awaitable[T]]) -> T:
    """Load a graph and do some work with its engine, on the store that the environment names."""
    graph, source = load_graph(target)

    async def run() -> T:
        async with DataStore.open() as store:
            with bars(store):
                return await work(FlowEngine(graph, store, source=source))

    with ungrouped():
        return anyio.run(run)


def as_json(value: Any) -> str:
    """A value as one line of JSON, with the types that JSON doesn't hold; what can't be kept by its repr."""
    try:
        return json.dumps(to_tree(value), ensure_ascii=False)
    except PayloadError:
        return json.dumps(_outlined(value), ensure_ascii=False).encode(errors="backslashreplace").decode()


def shown(value: Any) -> str:
    """A value for people, on one line: as JSON where that holds it, else as Python writes it."""
    return as_json(value) if is_plain(value) else safe_text(repr, value).replace("\n", " ")


def shortened(value: Any, width: int = 100) -> str:
    """A value for people, cut to fit into a line."""
    text = shown(value)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _outlined(value: Any) -> Any:
    if type(value) is dict:
        return {str(key): _outlined(part) for key, part in value.items()}
    return [_outlined(part) for part in value] if type(value) is list else _part(value)


def _part(value: Any) -> Any:
    try:
        return to_tree(value)
    except PayloadError:
        return safe_text(repr, value)


def size_text(size: int) -> str:
    """A number of bytes, as in `1.2 KiB`."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def seconds_text(seconds: float) -> str:
    """A number of seconds, as in `350 ms`, `2.1 s`, `5 min` or `3 h`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for limit, divisor, unit, digits in ((60, 1, "s", 1), (3600, 60, "min", 0), (172800, 3600, "h", 0)):
        if seconds < limit:
            return f"{seconds / divisor:.{digits}f} {unit}"
    return f"{seconds / 86400:.0f} days"


def age_text(at: datetime) -> str:
    """How long ago something was."""
    return f"{seconds_text(max(0.0, (datetime.now(UTC) - at).total_seconds()))} ago"


def plural(count: int, what: str) -> str:
    """A count with its noun, as in `1 item` or `2 items`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
