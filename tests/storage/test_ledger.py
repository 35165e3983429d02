"""A hop counts, pushes and acknowledges in one step or not at all; the ledger knows when a queue is used up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from nodeflow.errors import LeaseLostError, PayloadError, StorageError, UsageError
from nodeflow.storage import Changes, DataStore, Gathered, LoopEnd, Part
from nodeflow.values import Encoded
from tests.storage.contents import contents, lasting


async def test_a_hop_pushes_counts_and_acknowledges(store: DataStore, client: Redis) -> None:
    await store.queue.push_many("in", [1, 2])
    async with store.queue.lease("in", 2, timeout=0) as lease:
        await lease.commit(
            pushes={"out": ["a", "b"], "more": [None], "none": []},
            dead={"in": [{"error": "x"}, None]},
            reason="bad values",
            counts={"done": 2, "failed": 1},
            job="job",
        )
        assert not lease.is_open
    assert await store.queue.leased("in") == 0
    assert await store.ledger("job").read() == {"done": 2, "failed": 1}
    assert [await store.queue.pop("out", timeout=0) for _ in range(2)] == ["a", "b"]
    assert await store.queue.pop("more", timeout=0, default="nothing") is None
    letters = await store.queue.dead_letters("in")
    assert [letter.value for letter in letters] == [{"error": "x"}, None]
    assert [letter.error for letter in letters] == ["bad values", "bad values"]
    assert await store.queue.discard("in", None) == 2
    assert await lasting(store, client) == {}


async def test_a_hop_into_its_own_queue_and_of_encoded_values_works(store: DataStore) -> None:
    await store.queue.push("loop", 1)
    async with store.queue.lease("loop", timeout=0) as lease:
        await lease.commit(pushes={"loop": [Encoded(b'{"n":2}'), 3]})
    assert [await store.queue.pop("loop", timeout=0) for _ in range(2)] == [{"n": 2}, 3]


@pytest.mark.parametrize("count", [999, 1_000, 1_001, 2_500])
async def test_a_large_hop_pushes_all_values_in_order(store: DataStore, count: int) -> None:
    await store.queue.commit(pushes={"a": range(count), "b": range(count, 2 * count)})
    assert await store.queue.peek("a", 0, -1) == list(range(count))
    assert await store.queue.peek("b", 0, -1) == list(range(count, 2 * count))
    assert [await store.queue.clear(name) for name in "ab"] == [count, count]


async def test_a_hop_of_nothing_does_nothing(store: DataStore, client: Redis) -> None:
    await store.queue.commit()
    await store.queue.commit(pushes={"out": []}, dead={}, counts={})
    assert await contents(store, client) == {}


@pytest.mark.parametrize("wrong", ["target", "second target", "dead", "dead letters", "job"])
async def test_a_hop_that_meets_a_key_of_another_kind_leaves_everything_as_it_was(
    store: DataStore, client: Redis, wrong: str
) -> None:
    key = {
        "target": f"{store.prefix}queue:out",
        "second target": f"{store.prefix}queue:more",
        "dead": f"{{{store.prefix}queue:in}}:dead",
        "dead letters": f"{{{store.prefix}queue:in}}:dead-letters",
        "job": f"{store.prefix}job:job",
    }[wrong]
    await client.set(key, "another kind")
    await store.queue.commit(counts={"mark": 1}, job="earlier")
    await store.queue.push("in", 1)
    async with store.queue.lease("in", timeout=0) as lease:
        before = await contents(store, client)
        with pytest.raises(StorageError, match=f"^commit to 'in': WRONGTYPE {key} holds a string"):
            await lease.commit(pushes={"out": [1], "more": [2]}, dead={"in": [3]}, counts={"done": 1}, job="job")
        assert lease.is_open
        assert await contents(store, client) == before
        await client.delete(key)
        await lease.commit(pushes={"out": [1]})
    assert await store.queue.pop("out", timeout=0) == 1


async def test_a_hop_whose_value_cannot_be_held_leaves_everything_as_it_was(store: DataStore, client: Redis) -> None:
    await store.queue.push("in", 1)
    async with store.queue.lease("in", timeout=0) as lease:
        before = await contents(store, client)
        with pytest.raises(PayloadError, match=r"^pushes\['out'\]\[1\]\.when: object"):
            await lease.commit(pushes={"out": [1, {"when": object()}]})
        for counts in ({"done": 1.5}, {"done": "1"}, {"done": 2**53 + 1}, {"done": None}):
            with pytest.raises(ValueError, match="the count of 'done' must be a whole number"):
                await lease.commit(pushes={"out": [1]}, counts=counts, job="job")  # type: ignore[arg-type] # the test
        with pytest.raises(ValueError, match="job's id must not be empty"):
            await lease.commit(pushes={"out": [1]}, counts={"done": 1})
        assert await contents(store, client) == before
    assert await lasting(store, client) == {}


async def test_a_lease_is_committed_once(store: DataStore) -> None:
    await store.queue.push("in", 1)
    async with store.queue.lease("in", timeout=0) as lease:
        await lease.commit(pushes={"out": [1]})
        with pytest.raises(UsageError, match="nothing left to commit"):
            await lease.commit(pushes={"out": [1]})
    assert await store.queue.clear("out") == 1


async def test_a_hop_of_a_lease_that_is_not_open_any_more_pushes_nothing(store: DataStore, client: Redis) -> None:
    await store.queue.push("in", 1)
    async with store.queue.lease("in", timeout=0) as lease:
        await store.queue.clear_leases("in")
        with pytest.raises(LeaseLostError, match=r"the lease from 'in' is lost: the lease .* is not open"):
            await lease.commit(pushes={"out": [1]}, counts={"done": 1}, job="job")
        await lease.give_back()
    assert await store.ledger("job").read() == {}
    assert await lasting(store, client) == {}


async def test_concurrent_hops_add_up(store: DataStore) -> None:
    async with asyncio.TaskGroup() as tasks:
        for value in range(100):
            tasks.create_task(store.queue.commit(pushes={"out": [value]}, counts={"done": 2}, job="job"))
    assert await store.ledger("job").read() == {"done": 200}
    assert await store.queue.clear("out") == 100


async def test_the_dead_letters_are_read_oldest_first(store: DataStore) -> None:
    assert await store.queue.dead_letters("in") == []
    for letters in ([0, 1], [2], [3, 4]):
        await store.queue.commit(dead={"in": letters})
    ranges = [(0, -1), (1, 2), (3, -1), (4, 99), (5, 9), (3, 2)]
    found = [await store.queue.dead_letters("in", *each) for each in ranges]
    assert [[letter.value for letter in letters] for letters in found] == [
        [0, 1, 2, 3, 4],
        [1, 2],
        [3, 4],
        [4],
        [],
        [],
    ]
    assert len({letter.id for letter in found[0]}) == 5
    assert await store.queue.length("in") == 0
    assert [await store.queue.discard("in", None) for _ in range(2)] == [5, 0]


@pytest.mark.parametrize("count", [12, 1_001])
async def test_the_dead_letters_of_one_hop_keep_their_order(store: DataStore, count: int) -> None:
    await store.queue.commit(dead={"in": range(count)})
    assert [letter.value for letter in await store.queue.dead_letters("in")] == list(range(count))
    assert await store.queue.requeue("in") == count
    assert await store.queue.peek("in", 0, -1) == list(range(count))
    assert await store.queue.clear("in") == count


async def test_counts_alone_go_after_a_week(store: DataStore, client: Redis) -> None:
    await store.queue.commit(counts={"done": 1}, job="job")
    days = await client.ttl(f"{store.prefix}job:job") / (24 * 3600)
    assert 6.9 < days <= 7


async def test_a_ledger_stays_until_it_is_removed(store: DataStore, client: Redis) -> None:
    changes = Changes(job="job", counts={"done": 1}, fields={"more": {"field": b"1"}})
    await store.queue.commit(changes=changes)
    keys = [f"{store.prefix}job:job", f"{store.prefix}job:job:more"]
    assert [await client.ttl(key) for key in keys] == [-1, -1]
    await store.ledger("job").remove(["more"])
    assert await store.ledger("job").read() == {}
    assert await client.exists(*keys) == 0


async def test_a_hop_is_refused_when_somebody_else_has_moved_a_mark(store: DataStore) -> None:
    queue, ledger = store.queue, store.ledger("job")
    await queue.commit(pushes={"out": [1]}, changes=Changes(job="job", expected={"at": 0}, marks={"at": 3}))
    with pytest.raises(LeaseLostError, match="at is at 3 and not at 0: another process has taken over"):
        await queue.commit(pushes={"out": [2]}, changes=Changes(job="job", expected={"at": 0}, marks={"at": 4}))
    await queue.commit(pushes={"out": [3]}, changes=Changes(job="job", expected={"at": 3}, marks={"at": 5}))
    assert await ledger.read() == {"at": 5}
    assert await queue.peek("out", 0, -1) == [1, 3]
    assert await queue.clear("out") == 2
    await ledger.remove()


async def test_fields_are_set_read_and_removed(store: DataStore) -> None:
    ledger = store.ledger("job")
    fields = {name: await store.prepare_field("job", "states", value) for name, value in {"a": [1], "b": None}.items()}
    await store.queue.commit(changes=Changes(job="job", fields={"states": fields}))
    assert await ledger.fields("states", ["a", "b", "c"]) == [[1], None, None]
    await store.queue.commit(changes=Changes(job="job", fields={"states": {"a": None, "d": fields["a"]}}))
    assert await ledger.fields("states", ["a", "d"]) == [None, [1]]
    assert await ledger.fields("states", []) == []
    await ledger.remove(["states"])


async def test_what_is_due_later_is_pushed_in_the_hop_and_comes_when_it_is_due(store: DataStore) -> None:
    await store.queue.push("in", 1)
    async with store.queue.lease("in", timeout=0) as lease:
        await lease.commit(later={"out": [(0.0, "now"), (60.0, "then")]})
    assert await store.queue.pop("out", timeout=5) == "now"
    assert (await store.queue.tally("out")).delayed == 1
    assert await store.queue.clear("out") == 1


END = LoopEnd(queues=["in", "own"], needed=["closed:before"], finished="finished:l", closed="closed:l")


async def test_a_loop_ends_when_its_queues_are_closed_and_nothing_waits_or_is_leased(store: DataStore) -> None:
    ledger, queue = store.ledger("job"), store.queue

    async def state() -> int:
        return await ledger.end_loop(END, [[("own", b'"first"')], [("own", b'"second"')]])

    assert await state() == 0, "what is before it isn't closed"
    await queue.push("in", 1)
    await queue.commit(changes=Changes(job="job", marks={"closed:before": 1}))
    assert await state() == 0, "an item waits"
    async with queue.lease("in", timeout=0) as lease:
        assert await state() == 0, "an item is leased"
        await lease.give_back()
    assert await state() == 0, "an item came back"
    async with queue.lease("in", timeout=0) as lease:
        await lease.commit(later={"own": [(0.5, "a retry")]})
    assert await state() == 0, "work waits for its retry"
    assert await queue.pop("own", timeout=5) == "a retry"
    for finisher in ("first", "second"):
        assert await state() == 1
        assert await state() == 0, "a finisher is at work"
        assert await queue.pop("own", timeout=0) == finisher
    assert [await state(), await state()] == [2, 2]
    assert await ledger.read() == {"closed:before": 1, "finished:l": 2, "closed:l": 1}
    await ledger.unmark(["finished:l", "closed:l"])
    assert await state() == 1
    assert await queue.clear("own") == 1
    await ledger.remove()


async def notices(store: DataStore, *parts: Part) -> list[Any]:
    """What a hop with these parts tells the loop."""
    await store.queue.commit(changes=Changes(job="job", parts=parts))
    return [await store.queue.pop("own", timeout=0) for _ in range(await store.queue.length("own"))]


def part(name: str | None = None, data: bytes | None = b"1", **options: Any) -> Part:
    return Part(join="j", item="i", queue="own", name=name, data=data if name else None, **options)


async def test_a_record_tells_when_its_last_part_is_there(store: DataStore) -> None:
    assert await notices(store, part("a", b'"A"', total=2)) == []
    assert await notices(store, part("a", b'"again"', total=2)) == []
    ready = {"join": "j", "item": "i", "state": "ready", "count": 2}
    assert await notices(store, part("b", b'"B"', total=2)) == [ready]
    assert await store.ledger("job").parts("j", "i", ["a", "b"]) == ["A", "B"]
    gathered = [Gathered(join="j", item="i", names=["a", "b"])]
    await store.queue.commit(changes=Changes(job="job", gathered=gathered))
    assert await store.ledger("job").fields("join:j", ["i\na", "i\nb", "i\n"]) == [None, None, None]
    await store.ledger("job").remove(["join:j"])


async def test_a_record_whose_parts_are_counted_waits_for_the_count(store: DataStore) -> None:
    assert await notices(store, part("0"), part("2"), part("1")) == []
    assert [each["count"] for each in await notices(store, part(total=3))] == [3]
    assert [each["state"] for each in await notices(store, Part(join="j", item="none", queue="own", total=0))] == [
        "ready"
    ]
    skipped = Part(join="j", item="skipped", queue="own", total="skipped")
    assert [each["state"] for each in await notices(store, skipped)] == ["skipped"]
    await store.ledger("job").remove(["join:j"])


async def test_a_dead_part_is_told_once_and_may_be_replaced(store: DataStore) -> None:
    assert await notices(store, part("a", total=3)) == []
    assert [each["state"] for each in await notices(store, part("b", None, total=3))] == ["dead"]
    assert await notices(store, part("c", None, total=3)) == []
    assert await notices(store, part("b", b'"B"', total=3)) == []
    assert [each["state"] for each in await notices(store, part("c", b'"C"', total=3))] == ["ready"]
    await store.ledger("job").remove(["join:j"])


async def test_a_record_that_takes_dead_parts_is_over_with_them(store: DataStore) -> None:
    options: dict[str, Any] = {"takes_dead": True}
    assert await notices(store, part("0", **options), part("1", None, **options)) == []
    assert [each["state"] for each in await notices(store, part(total=2, **options))] == ["ready"]
    gathered = [Gathered(join="j", item="i", names=["0", "1"])]
    await store.queue.commit(changes=Changes(job="job", gathered=gathered))
    assert await notices(store, part("1", b"1", **options)) == [], "what comes later comes too late"
    await store.ledger("job").remove(["join:j"])


async def test_a_hop_that_is_refused_leaves_the_records_as_they_were(store: DataStore, client: Redis) -> None:
    await client.set(f"{store.prefix}job:job:join:j", "another kind")
    with pytest.raises(StorageError, match="holds a string, not a hash"):
        await notices(store, part("a", total=1))
    assert await store.queue.length("own") == 0
    await client.delete(f"{store.prefix}job:job:join:j")
