"""Production: every loop in processes of its own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import redis

from tests.project import Project
from tests.support import eventually

FLOW = """
    import os
    from nodeflow import Graph

    def numbers():
        yield from range(20)

    def half(n: int) -> float:
        if n % 10 == 7:
            raise ValueError(f"no half of {n}")
        return n / 2

    def show(x: float) -> None:
        print("got", x)

    graph = Graph("TOKEN")
    with graph.loop("a"):
        n = graph.add(numbers)
    with graph.loop("b", processes=2):
        h = graph.add(half, n)
    with graph.loop("c"):
        graph.add(show, h)
"""


def test_an_item_that_raises_is_a_dead_letter_and_the_rest_goes_on(project: Project) -> None:
    project.write("flow.py", FLOW)
    done = project.run("run", "flow.py", status=3)
    assert sum(line.startswith("got ") for line in done.stdout.splitlines()) == 18
    assert done.stdout.splitlines()[-1].startswith("18 items done, 2 failed, in ")
    letters = [json.loads(line) for line in project.run("dead-letters", "flow.py", "--json").stdout.splitlines()]
    assert sorted(letter["input"]["n"] for letter in letters) == [7, 17]
    assert letters[0]["node"] == "half"
    assert letters[0]["error"]["type"] == "ValueError"
    trace = letters[0]["error"]["traceback"].splitlines()
    assert "flow.py" in trace[1]
    assert trace[-1].startswith("ValueError: no half of")
    shown = project.run("dead-letters", "flow.py")
    assert "n = 7" in shown.stdout
    assert "2 dead letters" in shown.stderr
    assert "removed 2 dead letters" in project.run("dead-letters", "flow.py", "--clear").stdout
    assert "0 dead letters" in project.run("dead-letters", "flow.py").stdout


def test_a_job_leaves_nothing_behind_that_does_not_go_by_itself(project: Project) -> None:
    project.write("flow.py", FLOW.replace("% 10 == 7", "< 0"))
    project.run("run", "flow.py", "--quiet")
    with redis.Redis.from_url(project.url) as client:
        left = client.keys(f"*{project.token}*")
        assert [key for key in left if client.ttl(key) == -1] == [f"{{{project.token}}}:jobs".encode()]
        assert [key for key in left if not re.search(rb":(jobs|tally|done-steps:[^:]+:\d+)$", key)] == []


def test_the_channels_are_named_after_the_nodes_at_their_ends(project: Project) -> None:
    wait = "import pathlib, time\n        while not pathlib.Path('go').exists(): time.sleep(0.01)\n        return n"
    project.write("flow.py", FLOW.replace("return n / 2", wait).replace("% 10 == 7", "< 0"))
    with redis.Redis.from_url(project.url) as client, project.started("run", "flow.py", "--quiet") as process:
        key = f"{{{project.token}}}:queue:queue_numbers_half"
        eventually(lambda: client.exists(key), within=20, what="the channel has items")
        assert b'"value":' in client.lrange(key, 0, 0)[0]
        (project.folder / "go").touch()
        assert process.wait(20) == 0


def test_a_value_that_cannot_travel_fails_its_item(project: Project) -> None:
    project.write(
        "flow.py", FLOW.replace("return n / 2", "return object()").replace("-> float", "").replace("% 10 == 7", "< 0")
    )
    done = project.run("run", "flow.py", "--quiet", status=3)
    assert "0 items done, 20 failed" in done.stdout
    letters = [json.loads(line) for line in project.run("dead-letters", "flow.py", "--json").stdout.splitlines()]
    assert sorted(letter["input"]["n"] for letter in letters) == list(range(20))
    letter = letters[0]
    assert letter["node"] == "half"
    assert letter["error"]["message"].startswith("$: object is of no known type")
    assert letter["error"]["message"].endswith("so it can't go to queue 'queue_half_show'")
    assert letter["error"]["traceback"] == letter["error"]["message"]
    project.run("dead-letters", "flow.py", "--clear")


def test_a_finish_that_raises_is_a_failure_and_the_job_ends(project: Project) -> None:
    project.write(
        "flow.py",
        """
        from nodeflow import BlockingNode, Graph

        class Count(BlockingNode):
            def execute(self, n: int) -> None:
                pass
            def finish(self, ctx):
                raise RuntimeError("no result")

        graph = Graph("TOKEN")
        graph.add(Count(), graph.add(lambda: 1, id="one"))
        """,
    )
    assert "1 item done, 1 failed" in project.run("run", "flow.py", "--quiet", status=3).stdout
    assert "RuntimeError: no result" in project.run("dead-letters", "flow.py").stdout
    project.run("dead-letters", "flow.py", "--clear")


def test_setup_finish_and_cleanup_are_called_in_each_process(project: Project) -> None:
    project.write(
        "flow.py",
        """
        from pathlib import Path
        from nodeflow import BlockingNode, Context, Graph

        class Careful(BlockingNode):
            def setup(self, ctx: Context) -> None:
                self.slot = ctx.slot
                Path(f"setup {ctx.slot.replace('/', '-')} {bool(ctx.job)}").touch()
            def execute(self, n: int, ctx: Context) -> None:
                assert ctx.attempt == 1
                Path(f"item {ctx.item_id.partition('.')[2]}").touch()
            async def cleanup(self) -> None:
                Path(f"cleanup {self.slot.replace('/', '-')}").touch()

        graph = Graph("TOKEN")
        with graph.loop("a"):
            n = graph.add(lambda: 1, id="one")
        with graph.loop("b", processes=2):
            graph.add(Careful(), n)
        """,
    )
    project.run("run", "flow.py")
    names = {path.name for path in project.folder.iterdir() if path.name != "flow.py"} - {"__pycache__"}
    assert names == {"setup b-0 True", "setup b-1 True", "item one.0.0", "cleanup b-0", "cleanup b-1"}


def test_a_script_runs_its_own_graph(project: Project) -> None:
    project.write(
        "script.py",
        FLOW.replace("% 10 == 7", "< 0")
        + """
    if __name__ == "__main__":
        import asyncio
        from nodeflow import FlowEngine

        async def main():
            async with FlowEngine(graph) as engine:
                result = await engine.run()
            print(result.done, result.failed, result.nodes["half"].done, result.waiting, result.drained)

        asyncio.run(main())
    """,
    )
    done = project.run("script.py", program="python")
    assert done.stdout.splitlines()[-1] == "20 0 20 {} False"
    assert sum(line.startswith("got ") for line in done.stdout.splitlines()) == 20


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_so(project: Project) -> None:
    project.write(
        "script.py",
        FLOW
        + """
    import asyncio
    from nodeflow import FlowEngine
    asyncio.run(FlowEngine(graph).run())
    """,
    )
    done = project.run("script.py", program="python", status=1)
    assert 'put the call below `if __name__ == "__main__":`' in done.stderr
    done = project.run("run", "script.py", status=2)
    assert 'put the call below `if __name__ == "__main__":`' in done.stderr


def test_a_graph_without_a_module_level_name_is_told_what_to_do(project: Project) -> None:
    project.write(
        "script.py",
        """
        import asyncio
        from nodeflow import FlowEngine, Graph

        async def main():
            graph = Graph("TOKEN")
            graph.add(lambda: 1, id="one")
            async with FlowEngine(graph) as engine:
                await engine.run()

        if __name__ == "__main__":
            asyncio.run(main())
        """,
    )
    done = project.run("script.py", program="python", status=1)
    assert "write it into a .py file and give it a name at module level" in done.stderr


def test_what_the_loops_write_keeps_its_place(project: Project) -> None:
    project.write(
        "flow.py",
        """
        import sys
        from nodeflow import Graph

        def speak():
            print("to standard output")
            print("to standard error", file=sys.stderr)
            print("x" * 200_000)
            return 1

        graph = Graph("TOKEN")
        graph.add(speak)
        """,
    )
    done = project.run("run", "flow.py", "--quiet")
    assert done.stdout.startswith("to standard output\n")
    assert done.stdout.count("x") >= 200_000
    assert "to standard error" in done.stderr


def test_a_node_reads_nothing_from_the_standard_input(project: Project) -> None:
    project.write(
        "flow.py",
        """
        import sys
        from nodeflow import Graph

        graph = Graph("TOKEN")
        graph.add(lambda: sys.stdin.read(), id="one")
        """,
    )
    assert "1 item done" in project.run("run", "flow.py", "--quiet").stdout


def test_the_loops_work_in_the_folder_of_the_command(project: Project) -> None:
    project.write(
        "sub/flow.py",
        """
        from pathlib import Path
        from nodeflow import Graph

        graph = Graph("TOKEN")
        graph.add(lambda: Path("here").touch(), id="one")
        """,
    )
    project.run("run", "sub/flow.py", "--quiet")
    assert Path(project.folder / "here").exists()


def test_a_queue_of_other_programs_feeds_a_loop_and_takes_what_it_gives(project: Project) -> None:
    project.write(
        "flow.py",
        """
        from nodeflow import Graph
        from nodes import QueueReader, QueueWriter

        graph = Graph("TOKEN")
        graph.add(QueueWriter("answers"), graph.add(lambda n: n + 1, graph.add(QueueReader("questions")), id="add"))
        """,
    )
    prefix = f"{{{project.token}}}:queue:"
    with redis.Redis.from_url(project.url) as client, project.started("run", "flow.py", "--quiet") as process:
        client.lpush(f"{prefix}questions", "41")
        assert client.brpop([f"{prefix}answers"], timeout=20) == (f"{prefix}answers".encode(), b"42")
        process.terminate()
        assert process.wait(10) == 0
        client.delete(*client.keys(f"{{{project.token}}}:job:*"))  # of a job that could be gone on with


TYPES = """
import enum
from dataclasses import dataclass
from decimal import Decimal
from nodeflow import Graph, node

class Currency(enum.Enum):
    EUR = 1

@dataclass(frozen=True)
class Price:
    amount: Decimal
    currency: Currency

graph = Graph("{name}")

@node
def prices():
    for cents in range(3):
        yield Price(Decimal(cents) / 100, Currency.EUR)

@node
def doubled(price):
    assert type(price) is Price, type(price)
    return {price: (price.amount * 2, price.currency)}

@node
def show(found):
    print(sorted((str(key.amount), str(value[0]), value[1].name) for key, value in found.items()))

with graph.loop("read"):
    read = graph.add(prices)
with graph.loop("work"):
    double = graph.add(doubled, read)
with graph.loop("end"):
    graph.add(show, double)
"""


def test_values_of_the_users_own_classes_travel_between_loops_and_are_kept_by_steps(project: Project) -> None:
    project.write("flow.py", TYPES.replace("{name}", project.token))
    done = project.run("run", "flow.py", "--quiet")
    assert "[('0.01', '0.02', 'EUR')]" in done.stdout
    project.run("step", "flow.py", "doubled", "--items", "all")
    assert "[('0.02', '0.04', 'EUR')]" in project.run("step", "flow.py", "show").stdout
