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

import numpy as np
import orjson
from redis.asyncio import Redis

from benchmarks.pair import described
from benchmarks.report import EPILOG, Measure, conclude, machine, natural, progress
from nodeflow.storage import DataStore
from nodeflow.values import RefValue, decode, encode
from nodeflow.values.blobs import BlobStore
from nodeflow.values.descriptor import new_blob_id

DESCRIPTION = """\
What bytes of values cost. The rows:

  item        the 140-byte item of benchmarks.queues, encoded and decoded, 20,000 times, against bare orjson
  embeddings  85 lists of 900 floats, 1.5 MB of JSON, encoded, against bare orjson, which looks for nothing that
              it would change
  numpy       the same numbers as an array, encoded, against the lists of them
  refs        1,000 references of one context, 1 KB each, saved in the cache, restored and read, against one
              pipelined MSET and MGET of the same bytes by redis-py, on the embedded server
  blob        100 MB written to the blobs of a local folder and read back with their digest, against a plain
              file that is written, forced to the disk, and read
"""

BLOB_BYTES = 100_000_000
_ITEMS, _TIMES = 20_000, 10
_REFS = 1_000
ITEM_LIMIT, EMBEDDINGS_LIMIT, NUMPY_LIMIT, REFS_LIMIT, BLOB_LIMIT = 5.0, 2.0, 1 / 20, 5.0, 2.0


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
    rounds = chosen.rounds
    measures = [*_item(rounds), *_embeddings(rounds), *_numpy(rounds), *asyncio.run(_refs(rounds))]
    measures += asyncio.run(_blob(rounds))
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
    value = {"embeddings": _numbers()}
    ours, theirs = _turns(rounds, "embeddings", partial(_often, encode, value), partial(_often, orjson.dumps, value))
    return [
        Measure("embeddings: nodeflow, encoded", ours / _TIMES * 1e3, "ms"),
        Measure("embeddings: orjson", theirs / _TIMES * 1e3, "ms"),
        Measure.at_most("embeddings: nodeflow / orjson", ours / theirs, "times", EMBEDDINGS_LIMIT),
    ]


def _numpy(rounds: int) -> list[Measure]:
    lists = {"embeddings": _numbers()}
    arrays = {"embeddings": np.array(lists["embeddings"])}
    ours, theirs = _turns(rounds, "numpy", partial(_often, encode, arrays), partial(_often, encode, lists))
    return [
        Measure("numpy: the array, encoded", ours / _TIMES * 1e3, "ms"),
        Measure("numpy: the lists, encoded", theirs / _TIMES * 1e3, "ms"),
        Measure.at_most("numpy: array / lists", ours / theirs, "times", NUMPY_LIMIT),
    ]


def _numbers() -> list[list[float]]:
    noise = random.Random(1)
    return [[noise.random() for _ in range(900)] for _ in range(85)]


def _often(dumps: Callable[[Any], bytes], value: Any) -> None:
    for _ in range(_TIMES):
        dumps(value)


async def _refs(rounds: int) -> list[Measure]:
    noise = random.Random(1)
    values = {f"step_{place}": {"text": noise.randbytes(500).hex()} for place in range(_REFS)}
    stored = {name: encode(value) for name, value in values.items()}
    ours, theirs = [], []
    with tempfile.TemporaryDirectory(dir=".") as folder:
        async with DataStore.embedded(folder) as store:
            client = await store.connection.ensure_connection()
            for number in range(rounds):
                theirs.append(await _timed(partial(_through_pipeline, client, stored)))
                ours.append(await _timed(partial(_through_refs, store, values)))
                progress(f"round {number + 1} of {rounds}, refs: {ours[-1] / theirs[-1]:.2f} times MSET and MGET")
    ratio = statistics.median(ours) / statistics.median(theirs)
    return [
        Measure("refs: 1,000 saved, restored and read", statistics.median(ours) * 1e3, "ms"),
        Measure("refs: MSET and MGET of their bytes", statistics.median(theirs) * 1e3, "ms"),
        Measure.at_most("refs: nodeflow / MSET and MGET", ratio, "times", REFS_LIMIT),
    ]


async def _through_refs(store: DataStore, values: dict[str, Any]) -> None:
    await store.cache.set("context", {name: RefValue.of(value) for name, value in values.items()})
    restored = await store.cache.get("context")
    if {name: await ref.read() for name, ref in restored.items()} != values:
        raise AssertionError("the values came back changed")


async def _through_pipeline(client: Redis, stored: dict[str, bytes]) -> None:
    async with client.pipeline(transaction=False) as pipeline:
        pipeline.mset(stored)
        pipeline.mget(list(stored))
        _, found = await pipeline.execute()
    if found != list(stored.values()):
        raise AssertionError("the bytes came back changed")


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
