"""FILE on the command line: which file, which graph, and what is said when there is none."""

from __future__ import annotations

import json

import pytest

from tests.project import Project

ONE = """
    from nodeflow import Graph
    flow = Graph("TOKEN")
    flow.add(lambda: __name__, id="name")
"""

TWO = """
    from nodeflow import Graph
    first = Graph("TOKEN_first")
    first.add(lambda: 1, id="one")
    graph = Graph("TOKEN_second")
    graph.add(lambda: 2, id="two")
"""


def test_the_only_graph_needs_no_name_and_its_module_is_named_after_the_file(project: Project) -> None:
    project.write("flow.py", ONE)
    assert project.run("step", "flow.py", "name").stdout == 'name.0  "flow"\n'


def test_of_several_graphs_the_one_called_graph_is_taken(project: Project) -> None:
    project.write("flow.py", TWO)
    assert project.run("step", "flow.py", "two").stdout == "two.0  2\n"
    assert project.run("step", "flow.py:first", "one").stdout == "one.0  1\n"


def test_a_file_in_another_folder_finds_its_neighbours(project: Project) -> None:
    project.write("deep/er/flow.py", "import neighbour\n" + ONE.replace("\n    ", "\n"))
    project.write("deep/er/neighbour.py", "")
    assert project.run("step", "deep/er/flow.py", "name").stdout == 'name.0  "flow"\n'


def test_a_file_name_may_hold_what_no_module_name_may(project: Project) -> None:
    project.write("my-flow 2.py", ONE)
    assert project.run("step", "my-flow 2.py", "name").stdout == 'name.0  "my-flow 2"\n'


@pytest.mark.parametrize(
    ("target", "files", "said"),
    [
        ("flow.py", {}, "there is no file flow.py"),
        ("flow.txt", {"flow.txt": ""}, "flow.txt is no Python file"),
        ("flow.py", {"flow.py": ""}, "has no graph called 'graph': it has none at module level"),
        (
            "flow.py",
            {"flow.py": TWO.replace("graph", "second")},
            "it has first, second; say which with flow.py:NAME",
        ),
        ("flow.py:other", {"flow.py": ONE}, "has no graph called 'other': it has flow"),
        ("flow.py", {"flow.py": "import nothing_like_it"}, "No module named 'nothing_like_it'"),
        ("flow.py", {"flow.py": "a = ("}, "SyntaxError"),
        ("flow.py", {"flow.py": "raise SystemExit(3)"}, "SystemExit: 3"),
        ("json.py", {"json.py": ONE}, "json.py has the name of the module 'json', which it would hide"),
        (
            "flow.py",
            {"flow.py": ONE, "nodes.py": ""},
            "nodes.py has the name of nodeflow's own package 'nodes': give yours another name",
        ),
        ("flow.py", {"flow.py": ONE, "nodes/mine.py": ""}, "nodes has the name of nodeflow's own package 'nodes'"),
        (
            "flow.py",
            {"flow.py": ONE, "postprocess/__init__.py": ""},
            "postprocess has the name of nodeflow's own package 'postprocess'",
        ),
    ],
)
def test_what_cannot_be_loaded_is_a_wrong_use(project: Project, target: str, files: dict[str, str], said: str) -> None:
    for name, text in files.items():
        project.write(name, text)
    done = project.run("status", target, status=2)
    assert said in done.stderr
    assert "nodeflow/engine" not in done.stderr


def test_an_error_in_the_file_shows_the_users_own_line(project: Project) -> None:
    project.write("flow.py", "from nodeflow import Graph\n\ngraph = Graph('TOKEN')\ngraph.add(lambda n: n)\n")
    done = project.run("status", "flow.py", status=2)
    assert done.stderr.startswith("nodeflow: flow.py:4: 'lambda' needs an input for 'n'")


def test_all_problems_of_a_graph_are_said_at_once_with_their_lines(project: Project) -> None:
    project.write(
        "flow.py",
        """
        from nodeflow import Graph
        def text() -> str:
            return "a"
        def number(n: int) -> int:
            return n
        graph = Graph("TOKEN")
        t = graph.add(text)
        graph.add(number, t)
        graph.add(number, n="b")
        """,
    )
    done = project.run("run", "flow.py", status=2)
    assert "has 2 problems" in done.stderr
    assert "flow.py:9: number.n expects int, text gives str" in done.stderr
    assert "flow.py:10: number_2.n expects int, the constant is 'b'" in done.stderr


def test_a_graph_that_step_and_a_script_load_is_the_same_graph(project: Project) -> None:
    project.write(
        "flow.py",
        ONE
        + """
    if __name__ == "__main__":
        import asyncio
        from nodeflow import FlowEngine

        async def main():
            async with FlowEngine(flow) as engine:
                await engine.step("name")
                print((await engine.status())["name"].state)

        asyncio.run(main())
    """,
    )
    assert project.run("flow.py", program="python").stdout == "fresh\n"
    found = json.loads(project.run("status", "flow.py", "--json").stdout)
    assert (found["state"], found["why"]) == ("fresh", [])
