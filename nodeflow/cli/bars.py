"""Progress bars for large blobs, while a person waits for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from nodeflow.storage import DataStore

_LEAST_BYTES = 8 << 20
"""Smaller blobs need no bar."""


@contextmanager
def bars(store: DataStore) -> Iterator[None]:
    """Show how large blobs of a store are written and read, if standard error is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal or not store.has_blobs:
        yield
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    progress = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)

    def watch(what: str, blob_id: str, total: int | None) -> Callable[[int], None] | None:
        if total is not None and total < _LEAST_BYTES:
            return None
        progress.start()  # not before there is one: a console has room for one live display
        task = progress.add_task(f"{blob_id[:15]}… is {what}", total=total, visible=False)
        return lambda done: progress.update(task, completed=done, visible=done >= _LEAST_BYTES and done != total)

    store.blobs.watch = watch
    try:
        yield
    finally:
        store.blobs.watch = None
        progress.stop()
