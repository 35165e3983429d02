"""Dead letters: what cannot be read or keeps failing goes there with its reason, alone, and comes back when asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from redis.asyncio import Redis

from nodeflow.errors import PayloadError, StorageError, UsageError
from nodeflow.storage import DataStore, Item
from nodeflow.storage.heart import heart_of
from nodeflow.storage.keys import RETURNED, Keys
from tests.storage.limits import limit_taking
from tests.storage.looking import balanced, values
from tests.support import until

GARBAGE: dict[str, tuple[bytes, str]] = {
    "not JSON": (b"hello", "not JSON"),
    "not UTF-8": (b'"\xff\xfe"', "not JSON"),
    "binary": (bytes(range(256)), "not JSON"),
    "truncated": (b'{"a": [1, 2', "not JSON"),
    "empty": (b"", "not JSON"),
    "two values": (b"1 2", "not JSON"),
    "the mark of what is done": (b"\0", "not JSON"),
    "too large": (b'"' + b"x" * 2_000 + b'"', "2002 bytes, more than the 1000 that an item may have"),
}
ENVELOPES: dict[str, tuple[bytes, str]] = {
    "another version": (b'{"v":2,"id":"a","attempt":1}\n7', "version 2"),
    "no version": (b'{"id":"a","attempt":1}\n7', "not an item that came back"),
    "no envelope": (b"7", "not an item that came back"),
    "no id": (b'{"v":1,"attempt":1}\n7', "without an id"),
    "no attempt": (b'{"v":1,"id":"a"}\n7', "without an id"),
    "broken head": (b'{"v":1,\n7', "not an item that came back"),
    "broken value": (b'{"v":1,"id":"a","attempt":3}\nhello', "not JSON"),
    "too large": (b'{"v":1,"id":"a","attempt":3}\n"' + b"x" * 2_000 + b'"', "more than the 1000"),
    "empty": (b"", "not an item that came back"),
}


@pytest.fixture
async def store(store: DataStore) -> AsyncIterator[DataStore]:
    """A store that leaves no dead letters behind."""
    yield store
    await store.queue.discard("jobs", None)
    await store.queue.clear("jobs")


@pytest.fixture
def _small_items(store: DataStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Items may have a thousand bytes when they are taken."""
    limit_taking(store, monkeypatch, 1_000)


async def leased(store: DataStore, max_items: int = 10) -> list[Item]:
    async with store.queue.lease("jobs", max_items, timeout=0) as lease:
        return list(lease)


async def fail(store: DataStore, error: BaseException, max_items: int = 10) -> list[Any]:
    """Lease items and raise; their values."""
    found: list[Any] = []
    try:
        async with store.queue.lease("jobs", max_items, timeout=0) as lease:
            found += values(lease)
            raise error
    except type(error):
        return found


async def buried(store: DataStore, number: int) -> None:
    """So many dead letters, oldest 0."""
    for value in range(number):
        await store.queue.commit(dead={"jobs": [value]})


@pytest.mark.usefixtures("_small_items")
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("garbage", GARBAGE)
async def test_an_element_that_cannot_be_read_is_a_dead_letter_and_its_neighbours_are_delivered(
    store: DataStore, client: Redis, garbage: str, place: int
) -> None:
    data, reason = GARBAGE[garbage]
    elements = [b"1", b"2"]
    elements.insert(place, data)
    await client.lpush(f"{store.prefix}queue:jobs", *elements)
    assert values(await leased(store)) == [1, 2]
    (letter,) = await store.queue.dead_letters("jobs")
    assert reason in letter.error
    assert (letter.attempt, letter.size) == (1, len(data))
    if garbage != "too large":
        assert (letter.value, letter.raw) == (None, data)
    tally = await store.queue.tally("jobs")
    assert (tally.waiting, tally.leased, tally.dead, tally.done) == (0, 0, 1, 2)


@pytest.mark.usefixtures("_small_items")
@pytest.mark.parametrize("garbage", ENVELOPES)
async def test_what_came_back_and_cannot_be_read_is_a_dead_letter(
    store: DataStore, client: Redis, garbage: str
) -> None:
    data, reason = ENVELOPES[garbage]
    await store.queue.push_many("jobs", [1, 2, 3])
    async with store.queue.lease("jobs", 2, timeout=0) as lease:
        await lease.give_back()
    returned = Keys(store.prefix).all_of("jobs")[RETURNED]
    first: Any = await client.rpop(returned)
    await client.rpush(returned, data, first)  # so that it lies between the two that came back
    assert values(await leased(store)) == [1, 2, 3]
    (letter,) = await store.queue.dead_letters("jobs")
    assert reason in letter.error
    tally = await store.queue.tally("jobs")
    assert (tally.waiting, tally.leased, tally.dead, tally.done) == (0, 0, 1, 3)


@pytest.mark.usefixtures("_small_items")
@pytest.mark.parametrize("way", ["given back", "an error"])
async def test_the_largest_item_that_can_be_pushed_can_come_back_too(store: DataStore, way: str) -> None:
    await store.queue.push("jobs", "x" * 998)
    for _ in range(2):
        async with store.queue.lease("jobs", timeout=0) as lease:
            assert [len(item.value) for item in lease] == [998]
            await lease.give_back("" if way == "given back" else "no" * 900)
    await balanced(store, waiting=1, dead=0)


@pytest.mark.parametrize("number", [1, 30])
async def test_a_lease_waits_for_what_can_be_read_when_all_is_garbage(
    store: DataStore, client: Redis, number: int
) -> None:
    await client.lpush(f"{store.prefix}queue:jobs", *[b"{"] * number)
    async with store.queue.lease("jobs", 7, timeout=0.1) as lease:
        assert not lease
    assert len(await store.queue.dead_letters("jobs")) == number
    await balanced_without_pushes(store, dead=number)
    await client.lpush(f"{store.prefix}queue:jobs", b"{", b"1")
    async with store.queue.lease("jobs", 1, timeout=5) as lease:
        assert values(lease) == [1]
    assert len({letter.id for letter in await store.queue.dead_letters("jobs")}) == number + 1


async def balanced_without_pushes(store: DataStore, **expected: int) -> None:
    """A foreign client's pushes aren't counted, but nothing may be left in a lease."""
    tally = await store.queue.tally("jobs")
    assert tally.leased == tally.waiting == 0
    assert {field: getattr(tally, field) for field in expected} == expected


@pytest.mark.parametrize("garbage", [name for name in GARBAGE if name != "too large"])
@pytest.mark.parametrize("timeout", [0, 5])
async def test_a_pop_raises_on_garbage_and_leaves_it_in_the_dead_letters(
    store: DataStore, client: Redis, garbage: str, timeout: float
) -> None:
    data, reason = GARBAGE[garbage]
    await client.lpush(f"{store.prefix}queue:jobs", data, b"2")
    with pytest.raises(PayloadError, match=r"(?s)not JSON.*popped from queue 'jobs'"):
        await store.queue.pop("jobs", timeout=timeout)
    assert await store.queue.pop("jobs", timeout=timeout) == 2
    (letter,) = await store.queue.dead_letters("jobs")
    assert (letter.value, letter.raw, reason in letter.error) == (None, data, True)


async def test_cancelling_a_lease_of_garbage_leaves_nothing_leased(store: DataStore, client: Redis) -> None:
    for turns in range(40):
        await client.lpush(f"{store.prefix}queue:jobs", b"{", b"1", b"2")
        task = asyncio.create_task(leased(store))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert await store.queue.leased("jobs") == 0
        await store.queue.clear("jobs")


async def test_unknown_ids_are_refused_and_nothing_is_changed(store: DataStore) -> None:
    await buried(store, 3)
    ids = [letter.id for letter in await store.queue.dead_letters("jobs")]
    for call in (store.queue.requeue, store.queue.discard):
        for wrong in ([*ids, "nobody"], ["nobody", ids[0]], "nobody", [""], [ids[0], "a b'\n"]):
            with pytest.raises(UsageError, match=r"has no dead letter .*; nothing was changed"):
                await call("jobs", wrong)
        assert await call("jobs", []) == 0
    assert [letter.id for letter in await store.queue.dead_letters("jobs")] == ids
    await balanced(store, dead=3, waiting=0, discarded=0)


async def test_some_dead_letters_are_put_back_in_order_with_all_attempts_before_them(store: DataStore) -> None:
    await buried(store, 5)
    await store.queue.push("jobs", "behind")
    letters = await store.queue.dead_letters("jobs")
    assert values(letters) == [0, 1, 2, 3, 4]
    assert await store.queue.requeue("jobs", (letters[place].id for place in (1, 3, 3))) == 2
    assert await store.queue.requeue("jobs", letters[4].id) == 1
    await balanced(store, dead=2, waiting=4)
    for place in (4, 1, 3):  # each may be a poison, so each is delivered alone
        assert [(item.id, item.value, item.attempt) for item in await leased(store)] == [(letters[place].id, place, 1)]
    assert values(await leased(store)) == ["behind"]
    await balanced(store, dead=2, done=4)


async def test_something_else_may_go_on_in_the_place_of_dead_letters(store: DataStore) -> None:
    await buried(store, 601)
    letters = await store.queue.dead_letters("jobs")
    instead = {letter.id: await store.prepare("jobs", letter.value + 1_000) for letter in letters[:600]}
    assert await store.queue.replace("jobs", instead) == 600
    for place in range(600):
        (item,) = await leased(store)
        assert (item.id, item.value, item.attempt) == (letters[place].id, place + 1_000, 1)
        assert item.error == letters[place].error
    with pytest.raises(UsageError, match="no dead letter"):
        await store.queue.replace("jobs", {letters[600].id: b"1", "unknown": b"2"})
    await balanced(store, dead=1, done=600)


async def test_some_dead_letters_are_discarded(store: DataStore) -> None:
    await buried(store, 4)
    letters = await store.queue.dead_letters("jobs")
    assert await store.queue.discard("jobs", [letters[2].id, letters[0].id]) == 2
    assert values(await store.queue.dead_letters("jobs")) == [1, 3]
    await balanced(store, dead=2, discarded=2)


@pytest.mark.parametrize("number", [0, 1, 499, 500, 501, 1_203])
@pytest.mark.parametrize("what", ["requeue", "discard"])
async def test_all_dead_letters_are_dealt_with_however_many_there_are(store: DataStore, what: str, number: int) -> None:
    await buried(store, number)
    if what == "discard":
        assert await store.queue.discard("jobs", None) == number
        await balanced(store, dead=0, discarded=number)
        return
    assert await store.queue.requeue("jobs") == number
    assert [await store.queue.pop("jobs", timeout=0) for _ in range(number)] == list(range(number))
    await balanced(store, dead=0, done=number)


async def test_dead_letters_of_one_hop_are_in_the_order_in_which_they_were_given(store: DataStore) -> None:
    await store.queue.commit(dead={"jobs": range(30)})
    assert values(await store.queue.dead_letters("jobs")) == list(range(30))
    await store.queue.requeue("jobs")
    assert [item for _ in range(30) for item in values(await leased(store))] == list(range(30))


async def test_dead_letters_are_read_in_ranges(store: DataStore) -> None:
    await buried(store, 12)
    ranges = [(0, 0), (3, 5), (10, 99), (12, 99), (2, -1)]
    found = [values(await store.queue.dead_letters("jobs", *each)) for each in ranges]
    assert found == [[0], [3, 4, 5], [10, 11], [], list(range(2, 12))]


async def test_after_an_error_items_come_back_one_at_a_time(store: DataStore) -> None:
    await store.queue.push_many("jobs", range(5))
    assert await fail(store, ZeroDivisionError("no"), 3) == [0, 1, 2]
    for value in range(3):
        (item,) = await leased(store)
        assert (item.value, item.attempt, item.error) == (value, 2, "ZeroDivisionError: no")
    assert values(await leased(store)) == [3, 4]
    await balanced(store, done=5)


async def test_what_is_in_front_of_a_suspect_is_not_delivered_with_it(store: DataStore) -> None:
    await store.queue.push_many("jobs", list("abcd"))
    async with store.queue.lease("jobs", timeout=0) as innocent:
        assert await fail(store, ZeroDivisionError(), 2) == ["b", "c"]
        await innocent.give_back()
    assert [values(await leased(store)) for _ in range(4)] == [["a"], ["b"], ["c"], ["d"]]
    await balanced(store, done=4)


@pytest.mark.parametrize("most", [1, 2, 5])
@pytest.mark.parametrize("at_once", [1, 3, 10])
async def test_an_item_that_keeps_failing_dies_alone(
    server_url: str, store: DataStore, most: int, at_once: int
) -> None:
    handled: list[int] = []
    deaths = 0
    async with DataStore.from_url(server_url, prefix=store.prefix, max_deliveries=most) as strict:
        await strict.queue.push_many("jobs", range(10))
        while await strict.queue.length("jobs"):
            try:
                async with strict.queue.lease("jobs", at_once, timeout=0) as lease:
                    if 4 in values(lease):
                        deaths += len(lease) == 1
                        raise ValueError(f"poison in {len(lease)}")
                    handled += values(lease)
            except ValueError:
                continue
    assert sorted(handled) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    (letter,) = await store.queue.dead_letters("jobs")
    assert (letter.value, letter.error) == (4, "ValueError: poison in 1")
    assert deaths == most
    assert letter.attempt == most + (at_once > 1)
    await balanced(store, dead=1, done=9)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), StorageError("the server is gone")])
async def test_what_is_nobodys_fault_does_not_count(server_url: str, store: DataStore, error: BaseException) -> None:
    async with DataStore.from_url(server_url, prefix=store.prefix, max_deliveries=1) as strict:
        await strict.queue.push_many("jobs", range(3))
        for _ in range(5):
            assert await fail(strict, error) == [0, 1, 2]  # still together
        assert [(item.attempt, item.error) for item in await leased(strict)] == [(6, "")] * 3
    await balanced(store, done=3, dead=0)


async def test_a_suspect_that_is_given_back_without_an_error_stays_one_and_does_not_die(store: DataStore) -> None:
    await store.queue.push_many("jobs", range(2))
    await fail(store, ZeroDivisionError())
    for _ in range(8):
        async with store.queue.lease("jobs", 10, timeout=0) as lease:
            assert values(lease) == [0]
            await lease.give_back()
    assert [values(await leased(store)) for _ in range(2)] == [[0], [1]]
    await balanced(store, done=2, dead=0)


@pytest.mark.parametrize(
    "text",
    ["", "a\n\tb\0c", "ü" * 3_000, "caf\udce9", '"}\n{"v":9}'],
    ids=["empty", "control characters", "long", "no UTF-8", "an envelope"],
)
async def test_the_last_error_is_kept_whatever_its_text(server_url: str, store: DataStore, text: str) -> None:
    async with DataStore.from_url(server_url, prefix=store.prefix, max_deliveries=1) as strict:
        await strict.queue.push("jobs", "x")
        for _ in range(2):
            await fail(strict, ValueError(text))
    (letter,) = await store.queue.dead_letters("jobs")
    expected = f"ValueError: {text}"[:2_000].encode(errors="backslashreplace").decode()
    assert (letter.value, letter.error) == ("x", expected)


async def test_values_are_the_same_after_they_were_dead(store: DataStore) -> None:
    everything = [None, 0, "", [], {}, "a\nb", {"v": 2, "id": "x"}, "ü\0", 1.5, [[1], {"a": None}]]
    await store.queue.push_many("jobs", everything)
    async with store.queue.lease("jobs", 20, timeout=0) as lease:
        for item in lease:
            await lease.dead_letter(item, "no")
    assert values(await store.queue.dead_letters("jobs")) == everything
    await store.queue.requeue("jobs")
    assert [item for _ in everything for item in values(await leased(store))] == everything
    await balanced(store, done=len(everything))


async def test_ids_of_a_consumer_that_was_idle_are_never_given_again(
    server_url: str, store: DataStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with DataStore.from_url(server_url, prefix=store.prefix, lease_seconds=4) as idle:
        for value in "ab":
            await idle.queue.push("jobs", value)
            async with idle.queue.lease("jobs", timeout=0) as lease:
                await lease.dead_letter(lease[0], "no")
            if value == "a":
                await be_idle(idle, monkeypatch)
    letters = await store.queue.dead_letters("jobs")
    assert values(letters) == ["a", "b"]
    assert len({letter.id for letter in letters}) == 2
    await balanced(store, dead=2)


async def be_idle(store: DataStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the heart believe that a day has passed, until it has forgotten its consumers."""
    heart = heart_of(store.connection, await store.connection.session())
    with monkeypatch.context() as patch:
        patch.setattr("nodeflow.storage.heart.time", SimpleNamespace(monotonic=lambda: float("inf")))

        async def has_forgotten() -> bool:
            return not heart.members

        await until(has_forgotten, 10, "the heart has forgotten its idle consumers")


@pytest.mark.parametrize("shown", [10, 3 << 20])
async def test_a_large_dead_letter_says_its_size(store: DataStore, shown: int) -> None:
    object.__setattr__(store._payloads.frames, "compress_above", None)
    await store.queue.commit(dead={"jobs": ["x" * shown]})
    (letter,) = await store.queue.dead_letters("jobs")
    assert letter.size == shown + 2
    assert (letter.value, letter.raw[:4]) == (("x" * 10, b"") if shown == 10 else (None, b'"xxx'))
