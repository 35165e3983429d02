"""Names of keys: which are right, and that whatever belongs to a queue shares its slot in a cluster."""

from __future__ import annotations

from binascii import crc_hqx
from typing import Any

import pytest

from nodeflow.storage import DataStore
from nodeflow.storage.keys import Keys
from tests.storage.leases import give_back

BAD_NAMES = ["", "a{b", "a}b", "{a}", "line\nbreak", "nul\0", "\ud800", "dead", "a:returned", "a:leased:1", "leases:b"]
BAD_NAMES += ["delayed", "a:heartbeat", "dead-letters:a", "tally", "a:done-steps:b", "writer-states", "a:max-length"]
NOT_STR: list[Any] = [None, 1, b"jobs", ["jobs"]]
PREFIXES = ["", "app:", "{graph}:", "{graph}:run:", "app:{graph}:", "a}{graph}:", "{open:", "{a{b}:", "ü:"]


def slot(key: str) -> int:
    """https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags"""
    start = key.find("{")
    end = key.find("}", start + 1)
    if start >= 0 and end > start + 1:
        key = key[start + 1 : end]
    return crc_hqx(key.encode(), 0) % 16384


def helpers(keys: Keys, name: str) -> list[str]:
    main = keys.queue(name)
    return [*keys.all_of(name)[1:], keys.leased(name, "host-1-ab-7"), keys.sent(main, "s"), *keys.writers(name)]


def test_the_slot_is_computed_as_the_specification_says() -> None:
    assert crc_hqx(b"123456789", 0) == 0x31C3
    assert slot("{user1000}.following") == slot("user1000")
    assert slot("foo{}{bar}") == crc_hqx(b"foo{}{bar}", 0) % 16384


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("name", ["jobs", "a:b", "with space", "größe", "*[?"])
def test_all_keys_of_a_queue_share_its_slot(prefix: str, name: str) -> None:
    keys = Keys(prefix)
    assert keys.queue(name) == f"{prefix}queue:{name}"
    assert {slot(key) for key in helpers(keys, name)} == {slot(keys.queue(name))}


@pytest.mark.parametrize("prefix", ["{graph}:", "app:{graph}:", "a}{graph}:"])
def test_a_tag_in_the_prefix_gives_all_keys_one_slot(prefix: str) -> None:
    keys = Keys(prefix)
    found = [
        *helpers(keys, "a"),
        *helpers(keys, "b"),
        keys.queue("a"),
        keys.queue("b"),
        keys.cache("c{d}"),
        keys.job("j"),
    ]
    assert {slot(key) for key in found} == {slot("graph")}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_no_two_keys_are_the_same(prefix: str) -> None:
    keys = Keys(prefix)
    names = ["a", "b", "a:b", "b:a"]
    found = [key for name in names for key in [keys.queue(name), *helpers(keys, name)]]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("prefix", ["}", "a}b:", "{}x:", "{}{tag}:", "x{}{tag}:", "\ud800"])
def test_a_prefix_that_would_scatter_the_keys_or_cannot_be_sent_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match=r"^prefix "):
        DataStore(prefix=prefix)


@pytest.mark.parametrize("prefix", NOT_STR)
def test_a_prefix_that_is_no_str_is_refused(prefix: Any) -> None:
    with pytest.raises(TypeError, match="prefix must be str"):
        DataStore(prefix=prefix)


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
async def test_a_bad_queue_name_is_refused_by_every_call(store: DataStore, name: str) -> None:
    queue = store.queue
    for call in (
        queue.push(name, 1),
        queue.push_many(name, []),
        queue.pop(name, timeout=0),
        queue.length(name),
        queue.peek(name),
        queue.clear(name),
        queue.dead_letters(name),
        queue.requeue(name),
        queue.discard(name, None),
        queue.leased(name),
        queue.delayed(name),
        queue.tally(name),
        queue.bound(name, 1),
        queue.bound(name, None),
        queue.clear_leases(name),
        queue.release(name, "parse/0"),
        queue.push(name, 1, delay=1),
        queue.commit(dead={name: [1]}),
        queue.commit(pushes={name: [1]}),
        queue.lease(name, timeout=0).__aenter__(),
    ):
        with pytest.raises(ValueError, match="queue name"):
            await call


@pytest.mark.parametrize("name", NOT_STR)
async def test_a_queue_name_that_is_no_str_is_refused(store: DataStore, name: Any) -> None:
    with pytest.raises(TypeError, match="name must be str"):
        await store.queue.push(name, 1)


@pytest.mark.parametrize(
    "name", ["leaseholders", "undead", "a:leasedx", "a-returned", "with space", "ä:ö", "*", "a:b:c", "dead-lettersx"]
)
async def test_a_name_that_only_looks_like_a_bad_one_is_taken(store: DataStore, name: str) -> None:
    await store.queue.push(name, 1)
    assert await store.queue.names() == [name]
    assert await store.queue.pop(name, timeout=0) == 1


@pytest.mark.parametrize("begin", ["{TOKEN}:", "TOKEN:", "a{TOKEN}*:", "TOKEN[a-z]?*\\^:", "{TOKEN:"])
async def test_names_lists_what_waits_below_the_prefix_and_nothing_else(
    server_url: str, token: str, begin: str
) -> None:
    async with DataStore.from_url(server_url, prefix=begin.replace("TOKEN", token)) as store:
        queue, client = store.queue, await store.connection.ensure_connection()
        for name in ("plain", "with:colon", "back"):
            await queue.push(name, 1)
        await give_back(store, "back", 1)
        await queue.push("later", 1, delay=60)
        await queue.commit(dead={"letters": [1]})
        await store.cache.set("queue:no", [1])
        others = [f"{store.prefix}queue:{odd}" for odd in ("", "a{b}", "x:leased:1", "x:dead")]
        others += [f"{store.prefix}x:queue:below", f"x{store.prefix}queue:above", f"{token}zzz:queue:beside"]
        await client.lpush(f"{store.prefix}queue:".encode() + b"\xff", "1")
        for other in others:
            await client.lpush(other, "1")
        await client.set(f"{store.prefix}queue:string", "no list")
        async with queue.lease("plain", timeout=0):
            assert await queue.names() == ["back", "later", "letters", "plain", "with:colon"]
        assert [await queue.clear(name) for name in ("back", "later", "with:colon", "plain")] == [1, 1, 1, 0]
        assert await queue.names() == ["letters"]
        await queue.discard("letters", None)
        assert await queue.names() == []
        await store.cache.delete("queue:no")
        await client.delete(*others, f"{store.prefix}queue:string", f"{store.prefix}queue:".encode() + b"\xff")


async def test_the_names_of_one_prefix_do_not_show_in_another(server_url: str, token: str) -> None:
    async with (
        DataStore.from_url(server_url, prefix=f"{token}a*:") as starred,
        DataStore.from_url(server_url, prefix=f"{token}abc:") as other,
    ):
        await other.queue.push("jobs", 1)
        assert await starred.queue.names() == []
        assert await other.queue.names() == ["jobs"]
        await other.queue.clear("jobs")
