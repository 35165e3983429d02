"""Each process of a job is killed once at each point of its work: what comes of it is what one clean pass gives."""

from __future__ import annotations

import pytest

from tests.faults.test_exact import COUNT, FLOW, expected, take_results
from tests.project import Project

pytestmark = pytest.mark.slow

DYING = """
    import os
    from pathlib import Path
    from nodeflow.engine.loops.hops import Hops
    from nodeflow.storage.queue import QueueStore

    def die(point, slot):
        path = Path(f"{point} {slot.replace('/', '-')}")
        if path.exists():
            path.write_text(path.read_text()[1:])
            if not path.read_text():
                path.unlink()
                os.kill(os.getpid(), 9)

    commit, lease = Hops.commit_now, QueueStore.lease

    async def commit_or_die(self, results, *arguments):
        slot, is_part = f"{self.loop}/{self.slot}", any(results.progress.values())
        die("before the commit", slot)
        await commit(self, results, *arguments)
        die("after the commit", slot)
        if is_part:
            die("in a fan-out that is half committed", slot)

    def lease_or_die(self, *arguments, consumer=None, **options):
        if consumer:
            die("before the lease", consumer)
        return lease(self, *arguments, consumer=consumer, **options)

    Hops.commit_now, QueueStore.lease = commit_or_die, lease_or_die
"""

POINTS = {
    "before the lease": ("a-0", "b-0", "b-1", "c-0"),
    "in the node": ("a-0", "b-0", "b-1", "c-0"),
    "before the commit": ("a-0", "b-0", "b-1", "c-0"),
    "after the commit": ("a-0", "b-0", "b-1", "c-0"),
    "in finish": ("c-0",),
    "in a fan-out that is half committed": ("a-0", "c-0"),
}


def flow() -> str:
    """The flow, with points at which its processes may die, a `finish`, and a fan-out in it."""
    text = DYING + FLOW.replace("import os, time\n    from pathlib import Path\n", "import time\n")
    text = text.replace("def produce(self, ctx):", "def produce(self, ctx):\n            self.ctx = ctx")
    text = text.replace("time.sleep(0.002)\n", 'time.sleep(0.002)\n                die("in the node", ctx.slot)\n')
    text = text.replace("if k == 3 and", 'die("in the node", ctx.slot)\n            if k == 3 and')
    return text.replace(
        "def execute(self, n: int, found: list):\n            return [n, len(found), sum(found)]",
        """def execute(self, n: int, found: list, ctx):
            die("in the node", ctx.slot)
            ctx.state["count"] = ctx.state.get("count", 0) + 1
            yield [n, len(found), sum(found)]
        def finish(self, ctx):
            yield from ([-1, 0, n] for n in range(12_000))
            die("in finish", ctx.slot)
            yield [-1, 1, ctx.state["count"]]""",
    )


@pytest.mark.parametrize("point", POINTS)
def test_a_process_that_dies_there_costs_nothing(project: Project, point: str) -> None:
    project.write("flow.py", flow())
    for slot in POINTS[point]:
        (project.folder / f"{point} {slot}").write_text("x" if point.startswith("in ") else "xxx")
    done = project.run("run", "flow.py", "--quiet")
    assert done.stderr.count("was killed by SIGKILL") == len(POINTS[point]), done.stderr
    last = [*([-1, 0, n] for n in range(12_000)), [-1, 1, COUNT]]
    assert take_results(project) == [*last, *expected()]
