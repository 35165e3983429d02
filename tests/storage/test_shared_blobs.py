"""References in queues and cache: their blobs are shared by who passes them on, and no sweep takes them meanwhile."""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodeflow.errors import BlobStoreError, PayloadError
from nodeflow.storage import DataStore, keeping
from nodeflow.storage import sweep as sweeping
from nodeflow.storage.connection import RedisConnection
from nodeflow.values import File, FileRefValue, JsonRefValue, RefValue
from nodeflow.values.blobs import BlobStore
from tests.storage.servers import Server
from tests.storage.test_encryption import KEY
from tests.support import until

ARRAY = np.arange(2_000.0)
OPTIONS: dict[str, Any] = {"max_inline_bytes": 5_000, "compress_above": None, "lease_seconds": 1.0}


@pytest.fixture(params=["plain", "encrypted"])
async def store(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> AsyncIterator[DataStore]:
    """A store with blobs on a server of its own: a sweep looks at all of a database."""
    keys = f"k1:{KEY}" if request.param == "encrypted" else None
    async with DataStore.from_url(
        server.url, prefix="app:", blobs=str(tmp_path / "blobs"), keys=keys, **OPTIONS
    ) as store:
        yield store


async def ids(store: DataStore) -> list[str]:
    """The ids of all blobs."""
    return [blob.id async for blob in store.blobs.list()]


async def forget(store: DataStore) -> None:
    """Let the server know nothing of what processes have in their hands, as if that had been said long ago."""
    store.connection.keeper._said.clear()
    store.connection.keeper._looked_at = -math.inf
    await (await store.connection.ensure_connection()).delete(keeping.KEY)


async def test_passing_a_reference_on_shares_its_blob(store: DataStore) -> None:
    await store.queue.push("a", RefValue.of(ARRAY))
    (blob_id,) = await ids(store)
    ref = await store.queue.pop("a")
    assert type(ref) is FileRefValue
    assert (ref.blob_id, ref.size) == (blob_id, ARRAY.nbytes + 128)
    await store.queue.push_many("a", [ref, {"deep": [ref, (ref, 1)]}])
    await store.cache.set("b", ref, ttl=60)
    assert await ids(store) == [blob_id]
    for back in (await store.queue.pop("a"), (await store.queue.pop("a"))["deep"][1][0], await store.cache.get("b")):
        assert back.blob_id == blob_id
        assert np.array_equal(await back.read(), ARRAY)


async def test_equal_values_written_twice_are_two_blobs(store: DataStore) -> None:
    await store.queue.push_many("a", [ARRAY, ARRAY, RefValue.of(ARRAY)])
    assert len(await ids(store)) == 3
    await store.queue.clear("a")


async def test_small_references_and_files_need_no_blob(store: DataStore, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("text")
    await store.queue.push("a", {"ref": RefValue.of({"a": 1}), "file": File(tmp_path / "note.txt")})
    assert await ids(store) == []
    back = await store.queue.pop("a")
    assert type(back["ref"]) is JsonRefValue
    assert await back["ref"].read() == {"a": 1}
    assert back["file"].read_text() == "text"


async def test_a_file_travels_through_a_queue(store: DataStore, tmp_path: Path) -> None:
    (tmp_path / "big.bin").write_bytes(ARRAY.tobytes())
    await store.queue.push_many("a", [File(tmp_path / "big.bin"), RefValue.of(File(tmp_path / "big.bin"))])
    file, ref = await store.queue.pop("a"), await store.queue.pop("a")
    for back in (file, await ref.read()):
        assert (back.name, back.read_bytes()) == ("big.bin", ARRAY.tobytes())
    assert ref.media_type == "application/octet-stream"


async def test_a_reference_of_another_store_is_copied(store: DataStore, tmp_path: Path) -> None:
    async with DataStore.from_url(str(store.settings.url), prefix="b:", blobs="memory://", **OPTIONS) as other:
        await other.connection.ensure_connection()
        ref = RefValue.of(ARRAY)
        await ref.save(other.blobs)
        await store.queue.push("a", ref)
        back = await store.queue.pop("a")
        assert back.blob_id in await ids(store)
        assert np.array_equal(await back.read(), ARRAY)


async def test_without_blobs_a_large_reference_is_refused_with_what_to_do(server_url: str, token: str) -> None:
    async with DataStore.from_url(
        server_url, prefix=f"{token}:", max_payload_bytes=5_000, compress_above=None
    ) as store:
        with pytest.raises(PayloadError, match=r"bytes: here a value may have 5,000; larger ones need blobs="):
            await store.queue.push("a", RefValue.of(ARRAY))


@pytest.mark.slow
async def test_no_sweep_takes_a_blob_that_is_referred_to_however_many_there_are(store: DataStore) -> None:
    refs = {f"n{number}": RefValue.of(ARRAY + number, hint="file") for number in range(120)}
    await store.queue.push("many", refs)
    await store.cache.set("many", refs, ttl=60)
    await store.queue.push("nested", {"more": refs, "large": "x" * 10_000})
    await store.queue.push("other", RefValue.of({"inner": refs, "text": "x" * 10_000}, hint="json"))
    del refs
    gc.collect()
    for name in ("many", "nested", "other"):
        for queue in ("many", "nested", "other"):
            if queue != name:
                async with store.queue.lease(queue, timeout=0) as lease:
                    await lease.retry(lease[0], delay=0.0)
        await forget(store)
        assert (await store.sweep(older_than=0)).removed == []
    await store.queue.clear("many")
    await store.cache.delete("many")
    await store.queue.clear("nested")
    found = await store.queue.pop("other")
    gc.collect()
    await forget(store)
    await until(lambda: said(store), 5, "the heartbeat says what this process has in its hands")
    assert (await store.sweep(older_than=0)).removed
    assert set(found.every_blob()) <= set(await ids(store))
    assert len(found.every_blob()) == 121
    inner = (await found.read())["inner"]
    assert (await inner["n7"].read())[0] == 7


async def said(store: DataStore) -> bool:
    """Whether any process has said that it has blobs in its hands."""
    return bool(await (await store.connection.ensure_connection()).exists(keeping.KEY))


@pytest.mark.slow
async def test_a_blob_that_goes_from_queue_to_queue_is_never_swept(
    store: DataStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "_SAY_SECONDS", 0.0)
    monkeypatch.setattr(keeping, "_LOOK_SECONDS", 0.0)
    await store.queue.push("a", RefValue.of(ARRAY))
    is_over = False

    async def move(source: str, target: str) -> None:
        while not is_over:
            async with store.queue.lease(source, timeout=0.01) as lease:
                if lease:
                    await lease.commit(pushes={target: [item.value for item in lease]})

    async with asyncio.TaskGroup() as tasks:
        for source, target in (("a", "b"), ("b", "c"), ("c", "a")):
            tasks.create_task(move(source, target))
        for _ in range(100):
            assert (await store.sweep(older_than=0)).removed == []
        is_over = True
    await store.sweep(older_than=0)
    assert len(await ids(store)) == 1
    for name in "abc":
        await store.queue.clear(name)


async def test_a_blob_that_moves_behind_the_back_of_a_sweep_is_kept(
    store: DataStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        await store.queue.push(name, RefValue.of(ARRAY))
    await forget(store)
    look = sweeping._in_queue
    looked: list[str] = []

    async def look_and_move(connection: RedisConnection, keys: tuple[str, ...]) -> set[str]:
        """After the first queue was looked at, what lies in the other one goes there."""
        used = await look(connection, keys)
        if keys[0] in ("app:queue:a", "app:queue:b"):
            looked.append(keys[0])
        if len(looked) == 1 and keys[0] == looked[0]:
            seen, other = ("a", "b") if keys[0].endswith(":a") else ("b", "a")
            async with store.queue.lease(other, timeout=0) as lease:
                await lease.commit(pushes={seen: [item.value for item in lease]})
        return used

    monkeypatch.setattr(sweeping, "_in_queue", look_and_move)
    assert (await store.sweep(older_than=0)).removed == []
    assert sorted(looked) == ["app:queue:a", "app:queue:b"]
    for name in ("a", "b"):
        await store.queue.clear(name)


@pytest.mark.parametrize("how", ["pop", "cache", "lease"])
async def test_a_handle_that_a_process_has_keeps_its_blob_whatever_it_came_by(store: DataStore, how: str) -> None:
    if how == "cache":
        await store.cache.set("a", RefValue.of(ARRAY))
        ref = await store.cache.get("a")
        await store.cache.delete("a")
    elif how == "pop":
        await store.queue.push("a", RefValue.of(ARRAY))
        ref = await store.queue.pop("a")
    else:
        await store.queue.push("a", RefValue.of(ARRAY))
        async with store.queue.lease("a", timeout=0) as lease:
            ref = lease[0].value
    await forget(store)
    await until(lambda: said(store), 5, "the heartbeat says what this process has in its hands")
    await store.sweep(older_than=0)
    assert np.array_equal(await ref.read(), ARRAY)


async def test_one_reference_in_two_places_is_one_blob(store: DataStore) -> None:
    ref = RefValue.of(ARRAY)
    await store.queue.push("a", [ref, {"again": ref}])
    assert len(await ids(store)) == 1
    await store.queue.clear("a")


@pytest.mark.parametrize("hint", ["memory", "json", "file"])
async def test_references_within_a_reference_can_be_read(store: DataStore, hint: Any) -> None:
    inner = RefValue.of(ARRAY)
    await inner.save(store.blobs)
    outer = RefValue.of({"inner": inner, "text": "x" * 10_000}, hint=hint)
    await store.queue.push("a", outer)
    for each in (outer, await store.queue.pop("a")):
        assert np.array_equal(await (await each.read())["inner"].read(), ARRAY)


@pytest.mark.parametrize("hint", ["memory", "json", "file"])
async def test_references_to_another_place_within_a_reference_are_refused(store: DataStore, hint: Any) -> None:
    elsewhere = RefValue.of(ARRAY)
    await elsewhere.save(BlobStore.open("memory://", max_inline_bytes=5_000))
    outer = RefValue.of({"inner": elsewhere, "text": "x" * 10_000}, hint=hint)
    with pytest.raises(PayloadError, match="holds references to blobs of another place"):
        await store.queue.push("a", outer)


async def test_what_goes_wrong_while_a_reference_is_saved_is_raised_as_itself(store: DataStore, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(ARRAY.tobytes())
    ref = RefValue.of(File(tmp_path / "f"))
    (tmp_path / "f").unlink()
    with pytest.raises(BlobStoreError, match="No such file"):
        await store.queue.push("a", [ref])
    (tmp_path / "f").write_bytes(b"shorter")
    with pytest.raises((PayloadError, BlobStoreError)):
        await store.queue.push("a", [ref])


async def test_a_reference_in_a_blob_does_not_pass_through_a_store_that_has_no_blobs(
    store: DataStore, server: Server
) -> None:
    await store.queue.push("a", RefValue.of(ARRAY))
    ref = await store.queue.pop("a")
    async with DataStore.from_url(server.url, prefix="other:") as bare:
        with pytest.raises(PayloadError, match="lies in a blob, but this store has no blobs"):
            await bare.queue.push("b", {"deep": [ref]})
        assert await bare.queue.length("b") == 0
