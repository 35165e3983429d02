"""What cannot be kept or sent when more than a value is to come of its item: a dead letter that says why."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from nodeflow.graph import Graph, Retry, node
from nodeflow.testing import GraphRun, run_graph
from nodes import Collect


class Connection:
    """Something that stays within its process."""

    def __init__(self, n: int) -> None:
        self.n, self.lock = n, threading.Lock()


def numbers() -> Iterator[int]:
    yield from range(4)


def opened(n: int) -> Connection:
    return Connection(n)


def asked(connection: Connection) -> int:
    if connection.n == 1:
        raise OSError("busy")
    return connection.n


def message_of(found: GraphRun) -> str:
    """The only failure's."""
    (letter,) = found.failed
    assert letter["item"].endswith(".1")
    return str(letter["error"]["message"])


def told(graph: Graph, given: Any) -> None:
    with graph.loop("told"):
        graph.add(lambda error: error["item"], given, id="tell")


def test_a_node_is_not_tried_again_on_what_cannot_be_kept() -> None:
    graph = Graph("unkept")
    graph.add(node(retry=Retry(times=2, backoff=0.0))(asked), graph.add(opened, graph.add(numbers)))
    found = run_graph(graph)
    assert found["asked"] == [0, 2, 3]
    message = message_of(found)
    assert message.startswith("busy\n(it can't be tried again, since what it was given can't be kept: ")
    assert "Connection" in message


def test_an_item_whose_error_branch_cannot_take_it_is_a_dead_letter() -> None:
    graph = Graph("unkept")
    with graph.loop("ask"):
        answer = graph.add(node(on_error="failed")(asked), graph.add(opened, graph.add(numbers)))
    told(graph, answer.branch("failed"))
    found = run_graph(graph)
    assert found["asked"] == [0, 2, 3]
    assert message_of(found).startswith("busy\n(its error branch can't take it: $.failed.input.connection: ")


@pytest.mark.parametrize("is_raising", [True, False])
def test_an_error_without_the_key_of_the_loop_behind_is_a_dead_letter(is_raising: bool) -> None:
    @node(on_error="failed")
    def odd(n: int) -> dict[str, int]:
        if n == 1 and is_raising:
            raise OSError("busy")
        return {} if n == 1 else {"user": n}

    graph = Graph("unkept")
    with graph.loop("ask"):
        answer = graph.add(odd, graph.add(numbers))
    with graph.loop("told", processes=2, by="user"):
        graph.add(lambda either: either, answer, id="tell")
        graph.add(lambda error: error, answer.branch("failed"), id="tell_errors")
    found = run_graph(graph)
    assert sorted(given["user"] for given in found["tell"]) == [0, 2, 3]
    assert "its error branch can't take it" in message_of(found)


def test_a_part_of_a_join_that_cannot_be_kept_is_a_dead_letter() -> None:
    graph = Graph("unkept")
    with graph.loop("numbers"):
        n = graph.add(numbers)
    with graph.loop("there"):
        there = graph.add(lambda n: n, n, id="there")
    with graph.loop("here"):
        here = graph.add(lambda n: Connection(n) if n == 1 else n, n, id="here")
        graph.add(lambda here, there: (here, there), here, there, id="both")
    found = run_graph(graph)
    assert found["both"] == [(0, 0), (2, 2), (3, 3)]
    assert "so it can't be kept for 'both'" in message_of(found)


def test_a_generator_that_is_skipped_for_what_it_gave_has_its_first_values_gathered() -> None:
    @node(on_error="skip")
    def several(n: int) -> Iterator[Any]:
        yield from (n, Connection(n) if n == 1 else -n, n)

    graph = Graph("unkept")
    with graph.loop("here"):
        given = graph.add(several, graph.add(numbers))
    with graph.loop("there"):
        graph.add(Collect(), given)
    found = run_graph(graph)
    assert found["collect"] == [[0, 0, 0], [1], [2, -2, 2], [3, -3, 3]]
    assert not found.failed


@pytest.mark.parametrize("on_error", ["skip", "dead_letter"])
def test_what_a_producer_gives_that_cannot_be_sent_goes_where_its_options_say(on_error: str) -> None:
    @node(on_error=on_error)
    def some() -> Iterator[Any]:
        yield from (0, Connection(1), 2)

    graph = Graph("unkept")
    with graph.loop("here"):
        given = graph.add(some)
    with graph.loop("there"):
        graph.add(lambda n: n, given, id="take")
    found = run_graph(graph)
    assert found["take"] == [0, 2]
    assert len(found.failed) == (on_error == "dead_letter")
