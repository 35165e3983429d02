"""Sweeping blobs: what nothing in the server refers to, and is old enough, is removed.

A new blob is young while its descriptor is on its way. One that is older and passed on, or in the hands of a process,
is said to be in use before what refers to it goes elsewhere, and that is looked at last. Items move between the keys of
their queue, but never to another queue: what is not in the main list any more is looked for in all other keys of the
queue in one step. What can't be read ends the sweep.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from uuid import uuid4

import anyio
from attrs import frozen

from nodeflow.errors import UsageError
from nodeflow.storage.connection import RedisConnection
from nodeflow.storage.heart import heart_of
from nodeflow.storage.keeping import KEEP_SECONDS, KEY, SWEEP_MOST_SECONDS, SWEEPS
from nodeflow.storage.keys import queue_keys
from nodeflow.values.blobs import Blob, BlobStore

SWEEP_SECONDS = 3600.0
"""How old a blob must be to be swept, and how often a supervisor sweeps."""

_PORTION = 200
_BLOB = re.compile(rb"(?:output|streaming)_[0-9a-f]{32}")
_RECORDS = re.compile(rb"job:[^:]+:(?:join|state|progress)")
_BEGINNING = 500
_MANY = b'"blobs":['
"""Behind which the ids of all blobs stand, however many."""


@frozen
class Swept:
    """What a sweep found.

    Args:
        removed: the blobs that were removed, or would have been.
        kept: how many are referred to.
        young: how many are too young to be looked for.
    """

    removed: list[Blob]
    kept: int
    young: int


async def sweep(
    connection: RedisConnection, blobs: BlobStore, *, older_than: float = SWEEP_SECONDS, is_dry: bool = False
) -> Swept:
    """Remove the blobs that nothing in the server's database refers to and that are older than so many seconds.

    Args:
        connection: a connection to the server; all of its database is looked through.
        blobs: the place of the blobs, which belongs to this database alone.
        older_than: seconds; what is on its way to the server must have arrived after this time.
        is_dry: True only looks.

    Raises:
        UsageError: the place belongs to another database.
    """
    now = await blobs.mark(await claim_place(connection, blobs))
    every = [blob async for blob in blobs.list()]
    old = [blob for blob in every if now - blob.at > timedelta(seconds=older_than)]
    async with _announced(connection):
        used = await used_blobs(connection) if old else set()
    unused = [blob for blob in old if blob.id not in used]
    blobs.counts.blobs_orphaned += len(unused)
    if not is_dry:
        await blobs.delete([blob.id for blob in unused])
        blobs.counts.blobs_swept += len(unused)
        blobs.counts.blob_bytes_swept += sum(blob.size for blob in unused)
        await blobs.tidy(older_than)
    return Swept(unused, len(old) - len(unused), len(every) - len(old))


@asynccontextmanager
async def _announced(connection: RedisConnection) -> AsyncIterator[None]:
    """Let who closes its store know that a sweep looks for what is in use."""
    seconds, _ = await connection.call("TIME", operation="begin a sweep")
    name = uuid4().hex
    await connection.call("ZADD", SWEEPS, int(seconds), name, operation="begin a sweep")
    await connection.call("EXPIRE", SWEEPS, SWEEP_MOST_SECONDS, operation="begin a sweep")
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await connection.call("ZREM", SWEEPS, name, operation="end a sweep")


async def keep_in_use(connection: RedisConnection, more: Iterable[str] = ()) -> None:
    """Say to the server which blobs this process has in its hands, where that is due; the heartbeat says it later.

    Args:
        connection: a connection to the server.
        more: the ids of further blobs.
    """
    due = connection.keeper.due(more)
    if connection.keeper.holds:
        heart_of(connection, await connection.session()).begin()
    if due:
        await connection.run_script(
            "keep_blobs", [KEY], [KEEP_SECONDS, *connection.keeper.named(due)], "say which blobs are in use"
        )
        connection.keeper.said(due)


async def claim_place(connection: RedisConnection, blobs: BlobStore) -> str:
    """Make sure that the place of the blobs belongs to this database alone; the name that it bears.

    Raises:
        UsageError: it belongs to another one.
    """
    key = "nodeflow:database"
    await connection.call("SET", key, uuid4().hex, "NX", operation="name the database")
    name = str((await connection.call("GET", key, operation="name the database")).decode())
    owner = await blobs.owner()
    if owner not in (None, name):
        raise UsageError(
            f"the blobs in {blobs.place} belong to another database than {connection.address}: give each its own "
            "place, or, when this one took over, remove the blob 'owner' there"
        )
    if owner is None:
        await blobs.mark(name)
    return name


async def used_blobs(connection: RedisConnection, prefix: str = "") -> set[str]:
    """The blobs that anything in the database refers to, or anything under keys with a prefix.

    The keys are listed twice: one that comes while they are listed may be left out, but then there are others of the
    same queue, as its consumer's sign of life, when they are listed again.
    """
    used: set[str] = set()
    queues: set[tuple[str, ...]] = set()
    for _ in range(2):
        async for every in _keys_of(connection):
            portion = [key for key in every if key.lstrip(b"{").startswith(prefix.lstrip("{").encode())]
            for key in portion:
                with suppress(UnicodeDecodeError):  # then it is none of ours
                    queues.update(queue_keys(key.decode()))
            used |= await _in_strings(connection, portion)
            for key in filter(_RECORDS.search, portion):
                used |= await _in_records(connection, key)
    for keys in queues:
        used |= await _in_queue(connection, keys)
    if prefix:
        return used
    return used | await _in_hand(connection)  # last: a process says so before what refers to a blob goes elsewhere


async def _in_hand(connection: RedisConnection) -> set[str]:
    """The blobs that processes have in their hands."""
    now = await connection.call("TIME", operation="look for blobs in use")
    since = int(now[0]) - KEEP_SECONDS
    found = await connection.call("ZRANGEBYSCORE", KEY, since, "+inf", operation="look for blobs in use")
    return {blob.decode() for each in found for blob in _BLOB.findall(each)}


async def _keys_of(connection: RedisConnection) -> AsyncIterator[list[bytes]]:
    cursor = -1
    while cursor:
        found = await connection.call("SCAN", max(cursor, 0), "COUNT", 1_000, operation="look for blobs in use")
        cursor = int(found[0])
        if found[1]:
            yield found[1]


async def _in_strings(connection: RedisConnection, keys: list[bytes]) -> set[str]:
    kinds = await connection.pipeline([("TYPE", key) for key in keys], "look for blobs in use") if keys else []
    strings = [key for key, kind in zip(keys, kinds, strict=True) if kind == b"string"]
    if not strings:
        return set()
    heads = await connection.pipeline([("GETRANGE", key, 0, _BEGINNING) for key in strings], "look for blobs in use")
    used = {blob.decode() for head in heads for blob in _BLOB.findall(head)}
    for key, head in zip(strings, heads, strict=True):
        if (start := head.find(_MANY)) >= 0 and b"]" not in head[start:]:
            whole = await connection.call("GET", key, operation="look for blobs in use") or b""
            used.update(blob.decode() for blob in _BLOB.findall(whole, 0, whole.find(b"]", start)))
    return used


async def _in_records(connection: RedisConnection, key: bytes) -> set[str]:
    """The blobs of what a job has kept: the parts of joins, what nodes remember, and how far items are."""
    if await connection.call("TYPE", key, operation="look for blobs in use") != b"hash":
        return set()
    used: set[str] = set()
    cursor = -1
    while cursor != 0:
        command = ("HSCAN", key, max(cursor, 0), "COUNT", 1_000)
        reply, fields = await connection.call(*command, operation="look for blobs in use")
        cursor = int(reply)
        used.update(blob.decode() for data in fields[1::2] for blob in _BLOB.findall(data))
    return used


async def _in_queue(connection: RedisConnection, keys: tuple[str, ...]) -> set[str]:
    """The blobs of a queue: first of its main list, newest first, so that what comes and goes hides nothing."""
    used: set[str] = set()
    start, length = 0, 1
    while start < length:
        arguments = [start, start + _PORTION - 1]
        length, found = await connection.run_script("blob_refs", keys, arguments, "look for blobs in use")
        used.update(blob.decode() for blob in found)
        start += _PORTION
    _, found = await connection.run_script("blob_refs", keys, [], "look for blobs in use")
    return used.union(blob.decode() for blob in found)
