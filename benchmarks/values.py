"""How fast values become bytes and come back: nodeflow's codec and blobs beside bare orjson and a plain file."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from benchmarks.pair import described
from benchmarks.report import EPILOG, Measure, conclude, machine, natural, progress
from nodeflow.values import decode, encode
from nodeflow.values.blobs import BlobStore
from nodeflow.values.descriptor import new_blob_id

DESCRIPTION = """\
What bytes of values cost. The rows:

  item        the 140-byte item of benchmarks.queues, encoded and decoded, 20,000 times, against bare orjson
  embeddings  85 lists of 900 floats, 1.5 MB of JSON, encoded, against bare orjson, which looks for nothing that
              it would change
  blob        100 MB written to the blobs of a local folder and read back with their digest, against a plain
              file that is written, forced to the disk, and read
"""

BLOB_BYTES = 100_000_000
_ITEMS, _TIMES = 20_000, 10
ITEM_LIMIT, EMBEDDINGS_LIMIT, BLOB_LIMIT = 5.0, 2.0, 2.0


def main() -> int:
    """Read the options, measure, print; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.values",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=natural, default=5, metavar="N", help="rounds of each design (default 5)")
    parser.add_argument("--json", action="store_true", help="print JSON lines; the rest goes to stderr")
    chosen = parser.parse_args()
    measures = [*_item(chosen.rounds), *_embeddings(chosen.rounds), *asyncio.run(_blob(chosen.rounds))]
    return conclude("Values and bytes", machine(), measures, as_json=chosen.json)


def _item(rounds: int) -> list[Measure]:
    items = [described(place) for place in range(500)]

    def work(dumps: Callable[[Any], bytes], loads: Callable[[bytes], Any]) -> None:
        for _ in range(_ITEMS // len(items)):
            for data in [dumps(item) for item in items]:
                loads(data)

    ours, theirs = _turns(rounds, "item", partial(work, encode, decode), partial(work, orjson.dumps, orjson.loads))
    return [
        Measure("item: nodeflow, encoded and decoded", ours / _ITEMS * 1e6, "µs"),
        Measure("item: orjson", theirs / _ITEMS * 1e6, "µs"),
        Measure.at_most("item: nodeflow / orjson", ours / theirs, "times", ITEM_LIMIT),
    ]


def _embeddings(rounds: int) -> list[Measure]:
    noise = random.Random(1)
    value = {"embeddings": [[noise.random() for _ in range(900)] for _ in range(85)]}

    def work(dumps: Callable[[Any], bytes]) -> None:
        for _ in range(_TIMES):
            dumps(value)

    ours, theirs = _turns(rounds, "embeddings", partial(work, encode), partial(work, orjson.dumps))
    return [
        Measure("embeddings: nodeflow, encoded", ours / _TIMES * 1e3, "ms"),
        Measure("embeddings: orjson", theirs / _TIMES * 1e3, "ms"),
        Measure.at_most("embeddings: nodeflow / orjson", ours / theirs, "times", EMBEDDINGS_LIMIT),
    ]


async def _blob(rounds: int) -> list[Measure]:
    data = random.Random(1).randbytes(BLOB_BYTES)
    ours, theirs = [], []
    with tempfile.TemporaryDirectory(dir=".") as folder:
        blobs = BlobStore.open(Path(folder) / "blobs")
        for number in range(rounds):
            theirs.append(await _timed(partial(_through_file, Path(folder) / "plain", data)))
            ours.append(await _timed(partial(_through_blob, blobs, data)))
            progress(f"round {number + 1} of {rounds}, blob: {theirs[-1]:.2f} s the file, {ours[-1]:.2f} s the blob")
    ratio = statistics.median(ours) / statistics.median(theirs)
    return [
        Measure("blob: nodeflow, 100 MB written and read", statistics.median(ours), "s"),
        Measure("blob: the plain file", statistics.median(theirs), "s"),
        Measure.at_most("blob: nodeflow / plain file", ratio, "times", BLOB_LIMIT),
    ]


async def _through_blob(blobs: BlobStore, data: bytes) -> None:
    descriptor = await blobs.write(new_blob_id(), data, media_type="application/octet-stream")
    if await blobs.read(descriptor) != data:
        raise AssertionError("the blob came back changed")
    await blobs.delete([descriptor.storage_id])


async def _through_file(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if path.read_bytes() != data:  # noqa: ASYNC240
        raise AssertionError("the file came back changed")
    path.unlink()  # noqa: ASYNC240


async def _timed(work: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


def _turns(rounds: int, name: str, ours: Callable[[], None], theirs: Callable[[], None]) -> tuple[float, float]:
    """The median seconds of two designs that take turns."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for place, work in enumerate((ours, theirs)):
            began = time.perf_counter()
            work()
            seconds[place].append(time.perf_counter() - began)
        progress(f"round {number + 1} of {rounds}, {name}: {seconds[0][-1] / seconds[1][-1]:.2f} times orjson")
    return statistics.median(seconds[0]), statistics.median(seconds[1])


if __name__ == "__main__":
    sys.exit(main())
