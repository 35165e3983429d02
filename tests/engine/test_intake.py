"""What lies in a loop's own queue: work, or refused with the reason, whatever somebody has put there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nodeflow.engine.intake import Intake
from nodeflow.engine.passes import finished
from nodeflow.engine.plan import plan_loop
from nodeflow.engine.refusals import RefusedError
from nodeflow.engine.results import Results
from nodeflow.engine.work import Again, Work
from nodeflow.graph import Graph
from nodeflow.storage import Item
from nodeflow.testing.memory import Records


def numbers() -> Iterator[int]:
    yield 1


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
