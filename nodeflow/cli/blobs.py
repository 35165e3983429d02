"""The commands of the blobs: list, get, rm, sweep, stats."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, BinaryIO, TypeVar

import anyio
import typer

from nodeflow.cli.bars import bars
from nodeflow.cli.common import Json, age_text, as_json, plural, size_text, with_engine
from nodeflow.engine import load_graph
from nodeflow.errors import UsageError
from nodeflow.storage import DataStore
from nodeflow.values.blobs import Blob
from nodeflow.values.descriptor import is_blob_id

T = TypeVar("T")

app = typer.Typer(
    help="Look at the blobs of large values, and remove those that nothing refers to. Where they lie says "
    "NODEFLOW_BLOBS, else it is the folder .nodeflow/blobs.",
    no_args_is_help=True,
)

OfGraph = Annotated[
    str | None,
    typer.Argument(metavar="[FILE]", help="A graph: only the blobs that it refers to.", show_default=False),
]
GraphAndBlobs = Annotated[
    list[str],
    typer.Argument(metavar="[FILE] BLOB", help="The blob's id, as `list` shows it; with a graph, one of its blobs."),
]


@app.command("list")
def list_blobs(file: OfGraph = None, json: Json = False) -> None:
    """Show all blobs, the newest first."""
    for blob in sorted(_found(file), key=lambda blob: blob.at, reverse=True):
        data = {"id": blob.id, "size": blob.size, "at": blob.at.isoformat()}
        typer.echo(as_json(data) if json else f"{blob.id}  {size_text(blob.size):>10}  {age_text(blob.at)}")


@app.command()
def get(
    which: GraphAndBlobs,
    to: Annotated[
        Path | None, typer.Option("--to", "-o", help="The file to write; standard output when left out.")
    ] = None,
    stored: Annotated[
        bool, typer.Option("--stored", help="The bytes as they are stored: compressed, encrypted.")
    ] = False,
) -> None:
    """Write what a blob holds, decrypted and decompressed, to a file or to standard output."""
    blob, *more = _chosen(which)
    if more:
        raise UsageError(f"one blob at a time, not {1 + len(more)}")

    async def copy(store: DataStore) -> None:
        parts = store.blobs.raw(blob) if stored else store.blobs.content(blob)
        async with aclosing(parts):
            with bars(store), nullcontext(sys.stdout.buffer) if to is None else _new(to) as file:
                async for part in parts:
                    file.write(part)

    _with_store(copy)


@app.command()
def rm(
    which: GraphAndBlobs,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Remove blobs, whether something refers to them or not; a value that does can't be read any more."""
    blobs = _chosen(which)
    there = {blob.id for blob in _found(None)}
    if gone := [blob for blob in blobs if is_blob_id(blob) and blob not in there]:
        raise UsageError(f"{gone[0]} is not in {_with_store(_place)}: nothing was removed")
    if not yes:
        typer.confirm(f"Remove {plural(len(blobs), 'blob')} for good, whatever refers to them?", abort=True)
    _with_store(lambda store: store.blobs.delete(blobs))
    typer.echo(f"removed {plural(len(blobs), 'blob')}")


@app.command()
def sweep(
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="A graph of this server; all of its blobs are swept.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> None:
    """Remove what nothing in the server refers to and is older than an hour."""
    if file is not None:
        load_graph(file)
    swept = _with_store(lambda store: store.sweep(is_dry=dry_run))
    for blob in swept.removed:
        typer.echo(f"{blob.id}  {size_text(blob.size):>10}  {age_text(blob.at)}")
    size = size_text(sum(blob.size for blob in swept.removed))
    done = "would remove" if dry_run else "removed"
    rest = f"{swept.kept:,} older ones in use, {swept.young:,} younger than an hour"
    typer.echo(f"{done} {plural(len(swept.removed), 'blob')} ({size}); {rest}", err=True)


@app.command()
def stats(file: OfGraph = None, json: Json = False) -> None:
    """Show how many blobs there are, and their size."""
    found = _found(file)
    size, place = sum(blob.size for blob in found), _with_store(_place)
    data = {"place": place, "blobs": len(found), "bytes": size}
    typer.echo(as_json(data) if json else f"{plural(len(found), 'blob')}, {size_text(size)}, in {place}")


@contextmanager
def _new(path: Path) -> Iterator[BinaryIO]:
    """A new file, which goes again when the block raises."""
    try:
        file = path.open("xb")
    except FileExistsError:
        raise UsageError(f"{path} is there already: name another file") from None
    with file:
        try:
            yield file
        except BaseException:
            path.unlink()
            raise


def _found(file: str | None) -> list[Blob]:
    """All blobs, or those that a graph refers to."""
    return _with_store(_all) if file is None else with_engine(file, lambda engine: engine.blobs())


def _chosen(which: list[str]) -> list[str]:
    """The blobs that were named; behind a graph only those that it refers to."""
    if is_blob_id(which[0]):
        return which
    if len(which) == 1:
        raise UsageError(f"{which[0]!r} is no id of a blob; behind a graph's FILE there must be one")
    file, *blobs = which
    known = {blob.id for blob in _found(file)}
    if strange := [blob for blob in blobs if blob not in known]:
        raise UsageError(f"{strange[0]} is no blob of {file}: `nodeflow blobs list {file}` shows those")
    return blobs


async def _all(store: DataStore) -> list[Blob]:
    return [blob async for blob in store.blobs.list()]


async def _place(store: DataStore) -> str:
    return store.blobs.place


def _with_store(work: Callable[[DataStore], Awaitable[T]]) -> T:
    """Do some work with the store that the environment names."""

    async def run() -> T:
        async with DataStore.open() as store:
            return await work(store)

    return anyio.run(run)
