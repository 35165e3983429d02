"""Staleness, with files that the test edits, each command in a process of its own."""

from __future__ import annotations

import pytest

from tests.project import Project

pytestmark = pytest.mark.slow

FLOW = """
    from nodeflow import Graph
    import helpers

    LIMIT = 3

    def numbers():
        yield from range(10)

    def clean(n: int) -> int:
        return helpers.clean(n)

    def capped(n: int, limit: int = LIMIT) -> int:
        return min(n, limit)

    def shown(n: int) -> str:
        return str(n)

    graph = Graph("TOKEN")
    with graph.loop("a"):
        n = graph.add(numbers)
        c = graph.add(clean, n)
    with graph.loop("b"):
        graph.add(shown, graph.add(capped, c, limit=5))
"""

HELPERS = """
    def clean(n):
        return abs(n)

    def other():
        return 1
"""

FRESH = {"numbers": "fresh", "clean": "fresh", "capped": "fresh", "shown": "fresh"}


@pytest.fixture
def flow(project: Project) -> Project:
    """A project in which every node has been stepped."""
    project.write("flow.py", FLOW)
    project.write("helpers.py", HELPERS)
    project.run("step", "flow.py", "shown", "--items", "3")
    assert project.states("flow.py") == FRESH
    return project


def test_comments_and_formatting_change_nothing(flow: Project) -> None:
    flow.replace(
        "flow.py", "    return min(n, limit)", '    """Cap."""\n\n    # not more\n    return min(\n        n, limit)'
    )
    flow.replace("helpers.py", "def clean(n):", "\n\ndef clean( n ):  # noqa")
    assert flow.states("flow.py") == FRESH


def test_an_edited_node_is_stale_and_so_is_what_follows(flow: Project) -> None:
    flow.replace("flow.py", "return min(n, limit)", "return min(n, limit) + 0")
    found = flow.status("flow.py")
    assert (found["capped"]["state"], found["capped"]["why"]) == ("stale", ["flow.capped changed"])
    assert (found["shown"]["state"], found["shown"]["why"]) == ("stale", ["capped is stale"])
    assert found["clean"]["state"] == "fresh"


def test_an_edited_helper_in_another_file_is_named(flow: Project) -> None:
    flow.replace("helpers.py", "abs(n)", "abs(n) + 0")
    found = flow.status("flow.py")
    assert found["clean"]["why"] == ["helpers.clean changed"]
    assert [found[node]["state"] for node in ("numbers", "clean", "capped", "shown")] == ["fresh", *["stale"] * 3]


def test_an_edited_function_that_no_node_calls_changes_nothing(flow: Project) -> None:
    flow.replace("helpers.py", "return 1", "return 2")
    assert flow.states("flow.py") == FRESH


def test_another_constant_is_another_configuration(flow: Project) -> None:
    flow.replace("flow.py", "limit=5", "limit=4")
    assert flow.status("flow.py")["capped"]["why"] == ["configuration changed"]


def test_a_node_that_is_wired_to_another_one_is_stale(flow: Project) -> None:
    flow.replace("flow.py", "graph.add(capped, c, limit=5)", "graph.add(capped, n, limit=5)")
    assert flow.status("flow.py")["capped"]["why"] == ["port n is wired to numbers now"]


def test_a_rerun_with_equal_output_leaves_what_follows_fresh(flow: Project) -> None:
    flow.replace("helpers.py", "abs(n)", "abs(n) + 0")
    flow.run("step", "flow.py", "clean")
    assert flow.states("flow.py") == FRESH


def test_a_rerun_with_other_output_makes_what_follows_stale(flow: Project) -> None:
    flow.replace("helpers.py", "abs(n)", "abs(n) + 1")
    flow.run("step", "flow.py", "clean")
    found = flow.status("flow.py")
    assert found["clean"]["state"] == "fresh"
    assert (found["capped"]["state"], found["capped"]["why"]) == ("stale", ["clean gave other data"])
    assert found["shown"]["why"] == ["capped is stale"]


def test_a_step_on_a_stale_output_says_so_and_refresh_runs_it_first(flow: Project) -> None:
    flow.replace("helpers.py", "abs(n)", "abs(n) + 1")
    done = flow.run("step", "flow.py", "capped")
    assert "the kept output of clean is stale (helpers.clean changed)" in done.stderr
    assert flow.states("flow.py")["capped"] == "stale"
    plan = flow.run("step", "flow.py", "capped", "--refresh", "--plan").stdout
    assert plan.splitlines() == ["would run clean: helpers.clean changed", "would run capped: asked for"]
    done = flow.run("step", "flow.py", "capped", "--refresh")
    assert done.stdout.splitlines() == ["numbers.0  1", "numbers.1  2", "numbers.2  3"]


@pytest.mark.parametrize(("items", "values"), [("2", [1, 2]), ("all", list(range(1, 11)))])
def test_refresh_takes_as_many_values_of_a_producer_as_before(flow: Project, items: str, values: list[int]) -> None:
    flow.run("step", "flow.py", "numbers", "--items", items)
    flow.replace("flow.py", "range(10)", "range(1, 11)")
    done = flow.run("step", "flow.py", "clean", "--refresh")
    assert [int(line.split()[1]) for line in done.stdout.splitlines()] == values


def test_a_kept_output_serves_in_a_new_process_after_a_restart(flow: Project) -> None:
    done = flow.run("step", "flow.py", "shown")
    assert "running " not in done.stderr
    assert done.stdout.splitlines() == ['numbers.0  "0"', 'numbers.1  "1"', 'numbers.2  "2"']


def test_an_edited_class_attribute_or_field_is_another_configuration(project: Project) -> None:
    project.write(
        "classes.py",
        """
        import attrs
        from nodeflow import BlockingNode, Graph, ProducerNode

        @attrs.define
        class Count(ProducerNode[int]):
            upto: int
            def produce(self, ctx):
                yield from range(self.upto)

        graph = Graph("TOKEN")
        graph.add(Count(upto=3))
        """,
    )
    project.run("step", "classes.py", "count", "--items", "all")
    assert project.states("classes.py") == {"count": "fresh"}
    project.replace("classes.py", "upto=3", "upto=4")
    assert project.status("classes.py")["count"]["why"] == ["configuration changed"]
