"""What a process notes of the values that it has in hand: a later one of its slot takes over what is noted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import anyio
import anyio.lowlevel
import pytest

from nodeflow.engine.core.marks import epoch_mark
from nodeflow.engine.loops.caution import Caution
from nodeflow.engine.loops.hops import Hops
from nodeflow.engine.passes import finished
from nodeflow.errors import LeaseLostError
from nodeflow.graph import Graph
from nodeflow.storage import DataStore


def numbers() -> Iterator[int]:
    yield 1


@pytest.fixture(autouse=True)
async def forgotten(store: DataStore) -> AsyncIterator[None]:
    """The job's records are gone at the end."""
    yield
    await store.ledger("job").remove([])


async def process_of(store: DataStore) -> Caution:
    """What a process knows of the producer's values when it begins."""
    graph = Graph("g")
    graph.add(numbers)
    ledger = store.ledger("job")
    epoch = await ledger.begin(epoch_mark("main", 0))
    hops = Hops(store, "main", "job", 0, epoch)
    return Caution(hops, finished(graph).nodes["numbers"], 0, await ledger.read())


async def test_the_next_process_tries_alone_what_was_in_hand(store: DataStore) -> None:
    first = await process_of(store)
    await first.begin()
    assert not first.is_called_for
    assert (await process_of(store)).until == 65


async def test_what_ended_well_has_nothing_in_hand(store: DataStore) -> None:
    first = await process_of(store)
    await first.begin()
    await first.end()
    assert not (await process_of(store)).is_called_for


async def test_a_process_whose_slot_was_taken_over_takes_no_note_back(store: DataStore) -> None:
    first = await process_of(store)
    await first.begin()
    second = await process_of(store)
    await second.begin()
    await first.end()
    assert (await process_of(store)).until == 65
    with pytest.raises(LeaseLostError):
        async with first.noted(0):
            pass


@pytest.mark.parametrize("turns", range(12))
async def test_what_was_broken_off_is_tried_no_more_often_and_the_notes_can_be_taken_back(
    store: DataStore, turns: int
) -> None:
    first = await process_of(store)
    await first.begin()

    async def be_tried() -> None:
        async with first.noted(0):
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(be_tried)
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert (await process_of(store)).tries == 0


async def test_notes_are_taken_back_while_another_was_broken_off(store: DataStore) -> None:
    first = await process_of(store)
    await first.begin()
    async with first.noted(0):
        pass
    with anyio.move_on_after(0):
        async with first.noted(1):
            await anyio.sleep_forever()
    await first.end()
    assert not (await process_of(store)).is_called_for


async def test_only_values_that_a_process_died_of_are_tried_more_often(store: DataStore) -> None:
    first = await process_of(store)
    await first.begin()
    async with first.noted(0):
        assert (await process_of(store)).tries == 1
