"""Processes with a producer that are killed, frozen or drained: each value comes once, and none is taken for deadly."""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress

import pytest

from tests.faults.test_deadly_values import FLOW, discard, letters, marks
from tests.faults.test_exact import pid, take_results, with_patience
from tests.project import Project
from tests.support import eventually

pytestmark = pytest.mark.slow

NO_DEATH = FLOW.replace("{5}", "{}")

KILLED = """
    class Numbers(ProducerNode[int]):
        def setup(self, ctx):
            mark(ctx)
        def produce(self, ctx):
            for n in range(4000):
                time.sleep(0.001 if n % 10 == 0 else 0)
                yield n

    def work"""


def test_a_process_that_was_drained_died_of_nothing(project: Project) -> None:
    project.write("flow.py", NO_DEATH.replace("yield from range(10)", """for n in range(300):
            time.sleep(0.01)
            yield n"""))  # fmt: skip
    with project.started("run", "flow.py", "--quiet") as supervisor:
        eventually(lambda: marks(project).get("at:numbers/0"), within=20, what="values are committed")
        assert marks(project)["ahead:numbers/0"] > 0
        supervisor.send_signal(signal.SIGTERM)
        supervisor.communicate(timeout=30)
    assert marks(project)["ahead:numbers/0"] == 0
    project.run("run", "flow.py", "--quiet")
    assert take_results(project) == list(range(300))


@pytest.mark.parametrize("seed", range(2))
def test_shards_that_are_killed_at_random_give_each_value_once_but_for_deadly_ones(project: Project, seed: int) -> None:
    deadly = {401, 1402, 1403}
    project.write("flow.py", FLOW.replace("{5}", str(deadly)).replace("\n    def work", KILLED))
    project.replace("flow.py", "class Numbers", "@node(shardable=True)\nclass Numbers")
    project.replace("flow.py", "for n in range(4000)", "for n in range(ctx.shard, 4000, 2)")
    project.replace("flow.py", "graph.add(numbers)", "graph.add(Numbers())")
    project.replace("flow.py", 'graph.loop("a")', 'graph.loop("a", processes=2)')
    chance = random.Random(seed)
    with project.started("run", "flow.py", "--quiet") as supervisor:
        for _ in range(4):
            with suppress(ProcessLookupError, AssertionError):
                os.kill(pid(project, f"a-{chance.randrange(2)}"), signal.SIGKILL)
            with_patience(supervisor, chance.uniform(0.0, 0.4))
        output, errors = supervisor.communicate(timeout=60)
    assert supervisor.returncode == 3, errors
    assert "3,997 items done, 3 failed" in output
    assert take_results(project) == [n for n in range(4000) if n not in deadly]
    assert {letter["input"]["numbers"] for letter in letters(project)} == deadly
    discard(project)


@pytest.mark.parametrize("seed", range(3))
def test_processes_that_are_killed_at_random_leave_exact_results(project: Project, seed: int) -> None:
    project.write("flow.py", NO_DEATH.replace("\n    def work", KILLED))
    project.replace("flow.py", "graph.add(numbers)", "graph.add(Numbers())")
    chance = random.Random(seed)
    with project.started("run", "flow.py", "--quiet") as supervisor:
        for _ in range(4):
            with suppress(ProcessLookupError, AssertionError):
                os.kill(pid(project, "a-0"), signal.SIGKILL)
            with_patience(supervisor, chance.uniform(0.0, 0.4))
        output, errors = supervisor.communicate(timeout=60)
    assert supervisor.returncode == 0, errors
    assert "4,000 items done, 0 failed" in output
    assert take_results(project) == list(range(4000))
