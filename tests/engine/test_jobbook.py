"""The records of jobs: how many stay, and those without which a dead letter could not go on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from attrs import evolve

from nodeflow.engine.core.results import failed_count, loop_queue
from nodeflow.engine.jobs import jobbook
from nodeflow.engine.jobs.job import JobStatus
from nodeflow.engine.jobs.jobbook import JobBook
from nodeflow.engine.jobs.records import JobRecord
from nodeflow.engine.passes import finished
from nodeflow.errors import JobError
from nodeflow.graph import Graph
from nodeflow.storage import DataStore


def numbers() -> Iterator[int]:
    yield 1


@pytest.fixture
def book(store: DataStore, monkeypatch: pytest.MonkeyPatch) -> JobBook:
    monkeypatch.setattr(jobbook, "_MOST_RECORDS", 2)
    graph = Graph("g")
    graph.add(numbers)
    return JobBook(finished(graph), store)


async def closed(book: JobBook, job: str, failed: int = 0) -> None:
    """A job that is done, and on how many items its node raised."""
    await book.store.queue.commit(counts={failed_count("numbers"): failed}, job=job)
    record = JobRecord.new("g", "flow.py:graph", {})
    await book.close(evolve(record, id=job, status=JobStatus.DONE, ended=datetime.now(UTC)))


async def known(book: JobBook) -> list[str]:
    return [record.id for record in await book.all()]


async def test_the_records_of_jobs_with_dead_letters_stay(book: JobBook) -> None:
    queue = loop_queue("main")
    await book.store.queue.commit(dead={queue: ["letter"]})
    for job, failed in (("1", 0), ("2", 3), ("3", 0), ("4", 0), ("5", 0)):
        await closed(book, job, failed)
    assert await known(book) == ["2", "4", "5"]
    assert await book.store.ledger("1").read() == {}
    assert await book.store.ledger("2").read() == {failed_count("numbers"): 3}
    await book.store.queue.discard(queue, None)
    await book.tidy()
    assert await known(book) == ["4", "5"]
    assert [await book.store.ledger(job).read() for job in ("2", "4", "5")] == [{}] * 3


async def test_a_job_of_which_something_was_requeued_as_it_came_to_its_end_is_gone_on_with(book: JobBook) -> None:
    await book.store.queue.push(loop_queue("main"), "requeued")
    await closed(book, "1")
    assert [record.status for record in await book.all()] == [JobStatus.REQUEUED]
    await book.discard()
    assert [record.status for record in await book.all()] == [JobStatus.DONE]
    assert await book.store.queue.length(loop_queue("main")) == 0


def divided(store: DataStore, by: str | None) -> JobBook:
    """A book of a graph one of whose loops may have `by=`."""
    graph = Graph("g")
    with graph.loop("a"):
        given = graph.add(numbers)
    with graph.loop("b", by=by):
        graph.add(lambda n: n, given, id="same")
    return JobBook(finished(graph), store)


@pytest.mark.parametrize("before", ["user", None])
async def test_a_job_is_not_gone_on_with_when_by_is_added_or_removed_while_items_wait(
    store: DataStore, before: str | None
) -> None:
    record = await divided(store, before).open("flow.py:graph")
    queue = "queue_numbers_same.0" if before else "queue_numbers_same"
    await store.queue.push(queue, {})
    with pytest.raises(JobError, match=f"1 items in {queue}, .* or by= added or removed"):
        await divided(store, None if before else "user").open("flow.py:graph")
    assert (await divided(store, before).open("flow.py:graph")).id == record.id
    await divided(store, before).discard()


async def test_by_may_be_added_to_a_loop_for_which_nothing_waits(store: DataStore) -> None:
    record = await divided(store, None).open("flow.py:graph")
    again = await divided(store, "user").open("flow.py:graph")
    assert (again.id, again.slots) == (record.id, {"b": 1})
    await divided(store, "user").discard()
