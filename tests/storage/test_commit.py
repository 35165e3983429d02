"""The atomic hop: it acknowledges, pushes and saves in one step, in parts, or leaves everything as it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import combinations
from typing import Any

import pytest
from redis.asyncio import Redis

from nodeflow.errors import LeaseLostError, PayloadError, StorageError, UsageError
from nodeflow.storage import DataStore, Item, Lease
from tests.storage.looking import balanced, drained, values

KINDS = ["bare", "came back", "mixed"]
EVERY_PART = [chosen for number in range(5) for chosen in combinations(range(4), number)]


async def filled(store: DataStore, kind: str, number: int = 6) -> None:
    """A queue whose values are 0, 1, …: all bare, all in envelopes as they came back, or the first half of them."""
    await store.queue.push_many("jobs", range(number))
    if kind != "bare":
        async with store.queue.lease("jobs", number if kind == "came back" else number // 2, timeout=0) as lease:
            await lease.give_back()


@asynccontextmanager
async def leased(store: DataStore, kind: str = "mixed", number: int = 6) -> AsyncIterator[Lease]:
    """A lease on all items of such a queue."""
    await filled(store, kind, number)
    async with store.queue.lease("jobs", number, timeout=0) as lease:
        assert values(lease) == list(range(number))
        yield lease


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "parts",
    [
        [[0], [1], [2], [3], [4], [5]],
        [[5], [4], [3], [2], [1], [0]],
        [[5, 3, 1], [4, 2, 0]],
        [[2, 3], [], [0, 5, 1, 4]],
        [[0, 1, 2, 3, 4, 5]],
    ],
    ids=str,
)
async def test_a_lease_is_committed_in_parts_of_any_order(store: DataStore, kind: str, parts: list[list[int]]) -> None:
    async with leased(store, kind) as lease:
        done = 0
        for part in parts:
            assert lease.is_open
            await lease.commit(items=[lease[place] for place in part], pushes={"out": part})
            done += len(part)
            await balanced(store, leased=6 - done, done=done, waiting=0)
        assert not lease.is_open
        assert lease.held == []
    await balanced(store, leased=0, done=6)
    assert await drained(store, "out") == [value for part in parts for value in part]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_was_not_named_comes_back_in_order_whichever_part_was(store: DataStore, kind: str) -> None:
    for part in EVERY_PART:
        async with leased(store, kind, 4) as lease:
            ids = [item.id for item in lease]
            attempts = [item.attempt for item in lease]
            await lease.commit(items=[lease[place] for place in reversed(part)])
            assert values(lease.held) == [place for place in range(4) if place not in part]
            await lease.give_back()
        rest = [place for place in range(4) if place not in part]
        async with store.queue.lease("jobs", 10, timeout=0) as back:
            assert list(back) == [Item(ids[place], place, attempts[place] + 1) for place in rest]
        await balanced(store, waiting=0, leased=0)
    await balanced(store, done=4 * len(EVERY_PART))


@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_after_a_part_gives_the_others_back_one_by_one(store: DataStore, kind: str) -> None:
    async def fail() -> None:
        async with leased(store, kind) as lease:
            await lease.commit(items=[lease[1], lease[4]])
            raise ZeroDivisionError("no")

    with pytest.raises(ZeroDivisionError):
        await fail()
    await balanced(store, waiting=4, leased=0, done=2)
    for value in (0, 2, 3, 5):
        async with store.queue.lease("jobs", 10, timeout=0) as alone:
            assert (values(alone), alone[0].error) == ([value], "ZeroDivisionError: no")
    await balanced(store, waiting=0, done=6)


async def test_a_clean_exit_acknowledges_what_was_not_named(store: DataStore) -> None:
    async with leased(store) as lease:
        await lease.commit(items=[lease[2]])
        await balanced(store, leased=5, done=1)
    await balanced(store, leased=0, done=6)


async def test_a_hop_pushes_saves_and_acknowledges_together(store: DataStore) -> None:
    async with leased(store) as lease:
        await lease.commit(
            items=lease[:2],
            pushes={"left": ["a", "b"], "right": [{"c": 1}], "jobs": ["again"]},
            states={"sum": {"x": 1}, "seen": [1, 2]},
            dead={"left": ["broken"]},
        )
        assert [await store.cache.get("sum"), await store.cache.get("seen")] == [{"x": 1}, [1, 2]]
        await lease.commit(items=[lease[2]], states={"sum": {"x": 2}})
    assert await store.cache.get("sum") == {"x": 2}
    assert [await drained(store, name) for name in ("left", "right", "jobs")] == [["a", "b"], [{"c": 1}], ["again"]]
    assert [letter.value for letter in await store.queue.dead_letters("left")] == ["broken"]
    await store.queue.discard("left", None)
    for name, pushed in {"left": 3, "right": 1, "jobs": 7}.items():
        await balanced(store, name, pushed=pushed, waiting=0, dead=0)
    for key in ("sum", "seen"):
        await store.cache.delete(key)


async def test_dead_letters_of_a_hop_have_its_reason(store: DataStore) -> None:
    await store.queue.commit(dead={"jobs": ["broken", 2]}, reason="it is broken")
    letters = await store.queue.dead_letters("jobs")
    await store.queue.discard("jobs", None)
    assert [letter.value for letter in letters] == ["broken", 2]
    assert {(letter.error, letter.attempt) for letter in letters} == {("it is broken", 1)}


@pytest.mark.parametrize("obstacle", ["queue:a", "queue:b", "queue:c", "job:job"])
async def test_a_hop_that_meets_a_key_of_another_kind_leaves_everything_as_it_was(
    store: DataStore, client: Redis, obstacle: str
) -> None:
    await client.set(store.prefix + obstacle, "no list", ex=60)
    hop: dict[str, Any] = {"pushes": {name: [1, 2] for name in "abc"}, "states": {"state": 1}}
    hop |= {"dead": {"d": [3]}, "counts": {"done": 1}, "job": "job"}
    async with leased(store) as lease:
        with pytest.raises(StorageError, match=r"^commit to 'jobs': WRONGTYPE .*holds a string"):
            await lease.commit(items=lease[:3], **hop)
        assert await store.cache.get("state") is None
        assert lease.held == list(lease)
        await balanced(store, leased=6)
        for name in {"a", "b", "c", "d"} - {obstacle[-1]}:
            await balanced(store, name, pushed=0)
        await client.delete(store.prefix + obstacle)
        assert await store.ledger("job").read() == {}
        await lease.commit(items=lease[:3], **hop)  # nothing is left that is in its way
    await balanced(store, done=6)
    assert [await drained(store, name) for name in "abc"] == [[1, 2]] * 3
    assert await store.queue.discard("d", None) == 1
    await store.cache.delete("state")


async def test_a_state_replaces_whatever_lies_under_its_key(store: DataStore, client: Redis) -> None:
    await client.hset(f"{store.prefix}cache:state", "no", "string")
    await store.queue.commit(states={"state": 1})
    assert await store.cache.get("state") == 1
    await store.cache.delete("state")


@pytest.mark.parametrize("where", ["pushes", "states", "dead"])
async def test_a_value_that_cannot_be_held_is_refused_before_anything_is_sent(store: DataStore, where: str) -> None:
    bad = object()
    hop: dict[str, Any] = {"pushes": {"out": [1]}, "states": {"state": 1}, "dead": {"out": [2]}}
    hop[where] = {"state": bad} if where == "states" else {"out": [1, bad]}
    async with leased(store) as lease:
        with pytest.raises(PayloadError, match="object"):
            await lease.commit(**hop)
        assert lease.held == list(lease)
    assert await store.cache.get("state") is None
    await balanced(store, "out", pushed=0)
    await balanced(store, done=6)


async def test_items_of_another_lease_are_refused_and_nothing_is_done(store: DataStore) -> None:
    async with leased(store) as lease:
        await store.queue.push("jobs", 6)
        async with store.queue.lease("jobs", timeout=0) as other:
            calls = [
                lease.commit(items=[lease[0], other[0]], pushes={"out": [1]}),
                lease.retry(other[0]),
                lease.dead_letter(other[0], "no"),
            ]
            for call in calls:
                with pytest.raises(UsageError, match=f"doesn't hold item {other[0].id}"):
                    await call
            await balanced(store, leased=7)
    await balanced(store, "out", pushed=0)
    await balanced(store, done=7, dead=0)


@pytest.mark.parametrize("first", ["commit", "retry", "dead_letter"])
async def test_an_item_that_was_dealt_with_cannot_be_dealt_with_again(store: DataStore, first: str) -> None:
    async with leased(store) as lease:
        item = lease[3]
        if first == "commit":
            await lease.commit(items=[item])
        else:
            await (lease.retry(item) if first == "retry" else lease.dead_letter(item, "no"))
        for call in (lease.commit(items=[lease[0], item]), lease.retry(item), lease.dead_letter(item, "no")):
            with pytest.raises(UsageError, match="was dealt with"):
                await call
        assert values(lease.held) == [0, 1, 2, 4, 5]
    await drained(store)
    await store.queue.discard("jobs", None)
    await balanced(store, leased=0, waiting=0)


async def test_an_item_that_is_named_twice_in_one_hop_is_refused(store: DataStore) -> None:
    async with leased(store) as lease:
        with pytest.raises(UsageError):
            await lease.commit(items=[lease[0], lease[1], lease[0]])
    await balanced(store, done=6)


@pytest.mark.parametrize("kind", KINDS)
async def test_items_to_be_retried_come_back_in_front_in_their_order_and_the_others_stay_leased(
    store: DataStore, kind: str
) -> None:
    async with leased(store, kind) as lease:
        await lease.retry(lease[4], error="later")
        await lease.retry(lease[1])
        await balanced(store, leased=4, waiting=2, done=0)
        async with store.queue.lease("jobs", 10, timeout=0) as again:
            assert list(again) == [
                Item(lease[4].id, 4, lease[4].attempt + 1, "later"),
                Item(lease[1].id, 1, lease[1].attempt + 1),
            ]
    await balanced(store, done=6)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_item_is_put_into_the_dead_letters_with_its_error(store: DataStore, kind: str) -> None:
    async with leased(store, kind) as lease:
        await lease.dead_letter(lease[2], "no such 'thing'\n\ttried \u00e9 twice")
        await balanced(store, leased=5, dead=1)
    (letter,) = await store.queue.dead_letters("jobs")
    assert (letter.id, letter.value, letter.attempt) == (lease[2].id, 2, lease[2].attempt)
    assert letter.error == "no such 'thing'\n\ttried \u00e9 twice"
    await balanced(store, dead=1, done=5)
    await store.queue.discard("jobs", [letter.id])


@pytest.mark.parametrize("way", ["dead_letter", "retry", "give_back", "raise"])
async def test_an_error_text_that_utf8_cannot_hold_is_taken_all_the_same(store: DataStore, way: str) -> None:
    text = "no such file: 'caf\udce9'"  # as the name of a file that is not UTF-8
    await store.queue.push("jobs", 1)
    try:
        async with store.queue.lease("jobs", timeout=0) as lease:
            if way == "raise":
                raise FileNotFoundError(text)
            item = lease[0]
            await {
                "dead_letter": lambda: lease.dead_letter(item, text),
                "retry": lambda: lease.retry(item, error=text),
                "give_back": lambda: lease.give_back(text),
            }[way]()
    except FileNotFoundError:
        assert way == "raise"
    async with store.queue.lease("jobs", timeout=0) as again:
        errors = [item.error for item in again] + [letter.error for letter in await store.queue.dead_letters("jobs")]
    assert [error.startswith(("no such file: 'caf", "FileNotFoundError: no such file: 'caf")) for error in errors] == [
        True
    ]
    await store.queue.discard("jobs", None)
    await balanced(store, waiting=0, leased=0)


async def test_nothing_counts_that_is_done_under_a_lost_lease(server_url: str, store: DataStore) -> None:
    await filled(store, "mixed")
    async with DataStore.from_url(server_url, prefix=store.prefix) as successor:
        with pytest.raises(LeaseLostError):
            await come_late(store, successor)
        assert await store.cache.get("state") is None
        assert await store.ledger("job").read() == {}
        await balanced(store, "out", pushed=0)
        await balanced(store, done=1, dead=0, waiting=5)
        assert await drained(successor) == [1, 2, 3, 4, 5]
        await balanced(store, done=6)


async def come_late(store: DataStore, successor: DataStore) -> None:
    """Try everything with a lease after another store has taken over its consumer."""
    async with store.queue.lease("jobs", 6, consumer="count/0") as lost:
        async with successor.queue.lease("jobs", 1, consumer="count/0", timeout=0) as first:
            assert first[0].id == lost[0].id
        calls: list[Any] = [
            lost.commit(pushes={"out": [1]}, states={"state": 1}, counts={"done": 1}, job="job"),
            lost.commit(items=lost[2:3], dead={"out": [1]}),
            lost.extend(),
            lost.retry(lost[1]),
            lost.dead_letter(lost[1], "no"),
        ]
        for call in calls:
            with pytest.raises(LeaseLostError, match="Nothing of this call was done"):
                await call


async def test_a_lease_whose_sign_of_life_has_run_out_is_lost_also_when_nobody_took_its_items(
    store: DataStore, client: Redis
) -> None:
    async def be_late() -> None:
        async with leased(store) as lease:
            signs = [key async for key in client.scan_iter(f"*{store.prefix}*:heartbeat:*")]
            assert await client.delete(*signs) == 1
            with pytest.raises(LeaseLostError):
                await lease.commit(items=lease[:1], pushes={"out": [1]})

    with pytest.raises(LeaseLostError):
        await be_late()
    await balanced(store, "out", pushed=0)
    await balanced(store, done=0)
    assert sorted(await drained(store)) == list(range(6))
    await balanced(store, done=6)


async def test_extending_changes_nothing_but_the_sign_of_life(store: DataStore) -> None:
    async with leased(store) as lease:
        for _ in range(3):
            await lease.extend()
        await balanced(store, leased=6)
        assert lease.held == list(lease)
    with pytest.raises(UsageError, match="nothing left to commit"):
        await lease.extend()


async def test_thousands_of_outputs_arrive_in_order_and_once(store: DataStore) -> None:
    async with leased(store, "mixed", 5_000) as lease:
        for first in range(0, 5_000, 1_250):
            part = lease[first : first + 1_250]
            await lease.commit(items=part, pushes={"out": [[item.value, side] for item in part for side in "ab"]})
    assert await drained(store, "out") == [[number, side] for number in range(5_000) for side in "ab"]
    await balanced(store, done=5_000)
    await balanced(store, "out", pushed=10_000, done=10_000)


async def test_tasks_commit_items_of_one_lease_at_the_same_time(store: DataStore) -> None:
    async with leased(store, "mixed", 200) as lease:
        calls = [lease.commit(items=[item], pushes={"out": [item.value]}) for item in lease]
        await asyncio.gather(*calls)
        assert not lease.is_open
    assert sorted(await drained(store, "out")) == list(range(200))
    await balanced(store, done=200, leased=0)


async def test_a_hop_without_a_lease_pushes_and_saves(store: DataStore) -> None:
    await store.queue.commit(pushes={"a": [1, 2], "b": []}, states={"position": 2})
    await store.queue.commit()
    assert await store.cache.get("position") == 2
    assert await drained(store, "a") == [1, 2]
    await store.cache.delete("position")


async def test_a_hop_that_acknowledges_nothing_pushes_all_the_same(store: DataStore) -> None:
    async with leased(store) as lease:
        await lease.commit(items=[], pushes={"out": ["x"]})
        assert lease.held == list(lease)
    assert await drained(store, "out") == ["x"]
    await balanced(store, done=6)


@pytest.mark.parametrize("kind", KINDS)
async def test_moved_items_stay_what_they_are_and_wait_in_order_before_what_was_pushed(
    store: DataStore, kind: str
) -> None:
    await store.queue.push("there", "pushed")
    async with leased(store, kind) as lease:
        known = list(lease)
        await lease.commit(items=known[:1], moved={"there": [(item, item.value * 10) for item in known[1:4]]})
        assert [item.value for item in lease.held] == [4, 5]
        with pytest.raises(UsageError, match="was dealt with"):
            await lease.commit(items=[], moved={"there": [(known[1], 1)]})
        await lease.commit(items=[], moved={"there": [(item, item.value * 10) for item in known[4:]]})
        await balanced(store, leased=0, done=6, waiting=0)
    async with store.queue.lease("there", 10, timeout=0) as moved:
        assert values(moved) == [10, 20, 30, 40, 50, "pushed"]
        assert [item[2:] for item in moved[:5]] == [item[2:] for item in known[1:]]
        assert [item.id for item in moved[:5]] == [item.id for item in known[1:]]
