"""The cache keeps values by key for as long as they are wanted."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from nodeflow.errors import PayloadError, StorageError
from nodeflow.storage import DataStore
from tests.support import until

BAD_KEYS: list[Any] = [None, 1, b"key", ("key",), "", "\ud800"]


@pytest.mark.parametrize("value", [None, 0, "", False, [], {}, 1.5, {"a": [1, None, "ü"]}], ids=repr)
async def test_a_kept_value_comes_back(store: DataStore, value: Any) -> None:
    await store.cache.set("key", value)
    found = await store.cache.get("key", default="nothing")
    assert (type(found), found) == (type(value), value)
    await store.cache.delete("key")


async def test_a_value_is_kept_as_json_below_the_prefix(store: DataStore, client: Redis) -> None:
    await store.cache.set("node_output", {"id": 1})
    assert await client.get(f"{store.prefix}cache:node_output") == b'{"id":1}'
    await client.set(f"{store.prefix}cache:node_output", " [ 1, 2 ] ")
    assert await store.cache.get("node_output") == [1, 2]
    await store.cache.delete("node_output")


async def test_a_key_that_is_not_there_gives_none_or_the_default(store: DataStore) -> None:
    assert await store.cache.get("nothing") is None
    assert await store.cache.get("nothing", default=7) == 7
    assert await store.cache.exists("nothing") is False
    assert await store.cache.delete("nothing") is False
    assert await store.cache.ttl("nothing") is None


async def test_a_stored_null_is_told_from_nothing_by_the_default(store: DataStore) -> None:
    nothing = object()
    await store.cache.set("key", None, ttl=60)
    assert await store.cache.get("key", default=nothing) is None
    assert await store.cache.get("other", default=nothing) is nothing


async def test_delete_removes_a_value_and_says_whether_it_was_there(store: DataStore) -> None:
    await store.cache.set("key", 1)
    assert await store.cache.exists("key") is True
    assert await store.cache.delete("key") is True
    assert await store.cache.exists("key") is False
    assert await store.cache.get("key") is None


@pytest.mark.parametrize(
    ("ttl", "milliseconds"),
    [
        (60, 60_000),
        (60.0, 60_000),
        (1.5, 1_500),
        (timedelta(minutes=2, milliseconds=1), 120_001),
        (2**31, 2**31 * 1000),
    ],
)
async def test_a_time_to_live_is_kept_to_the_millisecond(
    store: DataStore, client: Redis, ttl: float | timedelta, milliseconds: int
) -> None:
    before = await server_milliseconds(client)
    await store.cache.set("key", 1, ttl=ttl)
    left = await client.pttl(f"{store.prefix}cache:key")
    passed = await server_milliseconds(client) - before + 1
    assert milliseconds - passed <= left <= milliseconds
    seconds = await store.cache.ttl("key")
    assert seconds is not None
    assert milliseconds / 1000 - 10 < seconds <= milliseconds / 1000


async def server_milliseconds(client: Redis) -> int:
    seconds, microseconds = await client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


async def test_a_value_goes_when_its_time_is_over(store: DataStore) -> None:
    await store.cache.set("soon", 1, ttl=0.05)
    await store.cache.set("at once", 1, ttl=1e-9)

    async def all_gone() -> bool:
        return not (await store.cache.exists("soon") or await store.cache.exists("at once"))

    await until(all_gone, 5, "both entries expired")
    assert await store.cache.get("soon", default="gone") == "gone"


async def test_a_value_without_a_time_to_live_stays(store: DataStore) -> None:
    await store.cache.set("key", 1, ttl=60)
    await store.cache.set("key", 2)
    assert await store.cache.ttl("key") is None
    assert await store.cache.get("key") == 2
    await store.cache.delete("key")


@pytest.mark.parametrize(
    "ttl", [0, -1, 0.0, -0.5, math.nan, math.inf, -math.inf, timedelta(0), timedelta(seconds=-1)], ids=repr
)
async def test_a_time_to_live_that_is_not_above_zero_is_refused_and_nothing_is_kept(
    store: DataStore, ttl: float | timedelta
) -> None:
    with pytest.raises(ValueError, match="ttl must be more than 0"):
        await store.cache.set("key", 1, ttl=ttl)
    assert not await store.cache.exists("key")


@pytest.mark.parametrize("ttl", ["60", True, [1], b"1"], ids=repr)
async def test_a_time_to_live_of_another_type_is_refused(store: DataStore, ttl: Any) -> None:
    with pytest.raises(TypeError, match="ttl must be seconds"):
        await store.cache.set("key", 1, ttl=ttl)
    assert not await store.cache.exists("key")


@pytest.mark.parametrize("key", BAD_KEYS, ids=ascii)
async def test_a_bad_key_is_refused_by_every_call(store: DataStore, key: Any) -> None:
    cache = store.cache
    for call in (cache.set(key, 1), cache.get(key), cache.delete(key), cache.exists(key), cache.ttl(key)):
        with pytest.raises((TypeError, ValueError), match="cache key"):
            await call


@pytest.mark.parametrize("key", ["a b", "{x}", "a:b", "ü", "*", "line\nbreak"], ids=ascii)
async def test_any_other_text_is_a_key(store: DataStore, key: str) -> None:
    await store.cache.set(key, key, ttl=60)
    assert await store.cache.get(key) == key


async def test_a_value_that_json_cannot_hold_is_refused_with_its_path_and_the_old_one_stays(store: DataStore) -> None:
    await store.cache.set("key", "old", ttl=60)
    with pytest.raises(PayloadError, match=r"^\$\.rows\[1\]\.when: object"):
        await store.cache.set("key", {"rows": [1, {"when": object()}]})
    assert await store.cache.get("key") == "old"


async def test_what_another_client_left_that_is_not_json_is_refused(store: DataStore, client: Redis) -> None:
    await client.set(f"{store.prefix}cache:key", "not json", ex=60)
    with pytest.raises(PayloadError, match="not json"):
        await store.cache.get("key")


async def test_a_key_of_another_kind_is_refused_by_name(store: DataStore, client: Redis) -> None:
    await client.lpush(f"{store.prefix}cache:key", "1")
    with pytest.raises(StorageError, match=r"^get 'key': WRONGTYPE"):
        await store.cache.get("key")
    await store.cache.delete("key")
