"""What lies in a loop's own queue: work, or refused with the reason, whatever somebody has put there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nodeflow.engine.core.evaluation import Absent
from nodeflow.engine.core.plan import plan_loop
from nodeflow.engine.core.refusals import RefusedError
from nodeflow.engine.core.results import Results
from nodeflow.engine.core.work import Again, Work
from nodeflow.engine.loops.intake import Intake
from nodeflow.engine.passes import finished
from nodeflow.graph import Graph
from nodeflow.storage import Item
from nodeflow.testing.memory import Records
from nodes import Collect


def numbers() -> Iterator[int]:
    yield 1


def numbers_upto(n: int) -> Iterator[int]:
    yield from range(n)


def same(n: int) -> int:
    return n


@pytest.fixture
def intake() -> Intake:
    graph = Graph("g")
    graph.add(same, graph.add(numbers))
    return Intake(plan_loop(finished(graph), "main"), Records(), "job")


def letter(*run: Again) -> Item:
    return Item("1", Work(item="job.numbers.0.0", entry="numbers", run=run).to_data())


async def test_what_a_head_gave_comes_in_anew(intake: Intake) -> None:
    work = await intake.work(None, letter(Again(node="numbers", given={"numbers": 7})), Results())
    assert work == Work(item="job.numbers.0.0", entry="numbers", kept={"numbers": 7})


@pytest.mark.parametrize("times", [1, 2])
async def test_what_a_head_gave_and_nobody_kept_is_refused(intake: Intake, times: int) -> None:
    with pytest.raises(RefusedError, match="what the producer gave could not be sent"):
        await intake.work(None, letter(*[Again(node="numbers", given={})] * times), Results())


@pytest.mark.parametrize("works", [None, 5, [{}], [{"item": "x"}], ["text"]])
async def test_what_is_no_work_is_refused(intake: Intake, works: object) -> None:
    with pytest.raises(RefusedError, match="can't be gone on with"):
        intake.left(works, None, Results())


@pytest.mark.parametrize("in_words", [True, False])
async def test_what_is_given_up_needs_nothing_that_it_was_given(intake: Intake, in_words: bool) -> None:
    run = (Again(node="numbers", given={}),)
    work = Work(item="job.numbers.0.0", entry="numbers", run=run, in_words=in_words, is_given_up=True)
    assert await intake.work(None, Item("1", work.to_data()), Results()) == work


async def test_a_gathering_that_is_given_up_is_skipped_and_its_parts_are_removed() -> None:
    graph = Graph("g")
    many = graph.add(numbers_upto, graph.add(numbers))
    with graph.loop("other"):
        graph.add(Collect(), many, id="all")
    gathering, results = Intake(plan_loop(finished(graph), "other"), Records(), "job"), Results()
    notice = {"join": "all", "item": "job.numbers.0.0", "state": "skipped", "count": 2}
    work = await gathering.work(None, Item("1", notice), results)
    assert work == Work(item="job.numbers.0.0", entry="all", kept={"all": Absent.SKIPPED})
    assert results.gathered == [("all", "job.numbers.0.0", ["0", "1"])]
