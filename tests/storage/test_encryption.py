"""With keys nothing lies readable in the server, and what was tampered with is an error that names key and place."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from nodeflow.errors import PayloadError
from nodeflow.settings import Settings
from nodeflow.storage import DataStore

KEY, OLD = (base64.b64encode(bytes(range(first, first + 32))).decode() for first in (0, 100))
SECRET = "the canary sings"


@pytest.fixture
async def safe(server_url: str, token: str) -> AsyncIterator[DataStore]:
    """A store with two keys."""
    async with DataStore.from_url(server_url, prefix=f"{token}:", keys=f"k2:{KEY},k1:{OLD}") as store:
        yield store


async def everything(client: Redis, token: str) -> bytes:
    """All that lies in the server below a word."""
    return b"\n".join([await client.dump(key) or b"" for key in await client.keys(f"*{token}*")])


async def test_nothing_is_readable_in_the_server_whatever_way_a_value_takes(
    safe: DataStore, client: Redis, token: str
) -> None:
    queue, values = safe.queue, [SECRET, SECRET * 1_000]
    await safe.cache.set("key", values, ttl=60)
    await queue.push_many("jobs", values)
    await queue.push("jobs", SECRET, delay=60)
    async with queue.lease("jobs", 2, timeout=0) as lease:
        assert [item.value for item in lease] == values
        assert b"canary" not in await everything(client, token)
        await lease.retry(lease[0])
        await lease.dead_letter(lease[1], "bad")
        await queue.commit(pushes={"out": values}, states={"state": SECRET}, dead={"out": [SECRET]})
        assert b"canary" not in await everything(client, token)
    assert await queue.peek("jobs") == [SECRET]
    assert [letter.value for letter in await queue.dead_letters("jobs")] == [values[1]]
    await queue.requeue("jobs")
    assert [await queue.pop("jobs") for _ in values] == [values[1], SECRET]
    assert [await queue.pop("out") for _ in values] == values
    assert (await safe.cache.get("key"), await safe.cache.get("state")) == (values, SECRET)
    await safe.cache.delete("state")
    await queue.clear("jobs")
    await queue.discard("out", None)


async def test_a_payload_that_was_moved_or_changed_is_a_dead_letter_that_names_key_and_place(
    safe: DataStore, client: Redis
) -> None:
    await safe.queue.push("jobs", SECRET)
    stolen: Any = await client.lindex(f"{safe.prefix}queue:jobs", 0)
    await client.lpush(f"{safe.prefix}queue:bank", stolen, stolen[:-1] + bytes([stolen[-1] ^ 1]))
    async with safe.queue.lease("bank", 5, timeout=0) as nothing:
        assert not nothing
    for letter in await safe.queue.dead_letters("bank"):
        assert f"in {safe.prefix}queue:bank it was changed, or written elsewhere: key 'k2' doesn't fit" in letter.error
    assert await safe.queue.discard("bank", None) == 2
    await client.set(f"{safe.prefix}cache:key", stolen)
    with pytest.raises(PayloadError, match="cache:key it was changed, or written elsewhere: key 'k2'"):
        await safe.cache.get("key")
    await safe.cache.delete("key")
    assert await safe.queue.pop("jobs") == SECRET


async def test_what_was_popped_without_its_key_can_be_requeued_when_the_key_is_there(
    safe: DataStore, store: DataStore
) -> None:
    for value in (SECRET, SECRET * 1_000):
        await safe.queue.push("jobs", value)
        with pytest.raises(PayloadError, match=r"encrypted with key 'k2'; the keys here \(NODEFLOW_KEYS\): none"):
            await store.queue.pop("jobs")
        assert await store.queue.requeue("jobs") == 1
        async with safe.queue.lease("jobs", timeout=0) as lease:
            assert [item.value for item in lease] == [value]


async def test_old_keys_and_what_was_written_without_one_can_be_read(safe: DataStore, server_url: str) -> None:
    for keys in (None, f"k1:{OLD}"):
        async with DataStore.from_url(server_url, prefix=safe.prefix, keys=keys) as before:
            await before.queue.push("jobs", keys)
        assert await safe.queue.pop("jobs") == keys


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ("k1", "key 1 of NODEFLOW_KEYS must be id:BASE64 of 32 bytes"),
        (f"k1:{KEY},k2:AAAA", "key 2 of NODEFLOW_KEYS must be"),
        (f"k1:{KEY},:{KEY}", "key 2 of NODEFLOW_KEYS must be"),
        (f"k1:{KEY},k1:{OLD}", "key 2 of NODEFLOW_KEYS has the id of another one"),
        (f"{KEY}:{KEY}", "key 1 of NODEFLOW_KEYS must be"),
        ("k" * 33 + f":{KEY}", "key 1 of NODEFLOW_KEYS must be"),
        ("k1:?!", "key 1 of NODEFLOW_KEYS is no base64"),
    ],
)
def test_a_bad_key_is_refused_and_not_shown(keys: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        DataStore.from_url("redis://server", keys=keys)
    assert KEY not in str(caught.value)
    assert "AAAA" not in str(caught.value)


def test_keys_come_from_the_environment_and_show_nowhere() -> None:
    settings = Settings.from_env({"NODEFLOW_KEYS": f"k1:{KEY}"})
    assert list(settings.encryption_keys) == ["k1"]
    store = DataStore.open(settings)
    assert KEY not in repr(settings) + repr(store) + repr(store._payloads)
    assert repr(base64.b64decode(KEY)) not in repr(store._payloads)
