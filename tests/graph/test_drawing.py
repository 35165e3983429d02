"""A graph as JSON and as a Mermaid flowchart."""

from __future__ import annotations

import datetime
import functools
import json
import math
import re
from collections.abc import Iterator
from typing import Any

import pytest

from nodeflow import BlockingNode, Context, Graph, LogicalNode, NonBlockingNode, ProducerNode
from nodes import QueueReader, QueueWriter


class Numbers(ProducerNode[int]):
    def produce(self, ctx: Context) -> Iterator[int]:
        yield from range(3)


class Sign(LogicalNode[int]):
    def choose(self, n: int) -> str:
        return "negative" if n < 0 else "positive"


class Double(BlockingNode):
    def execute(self, n: int, times: int = 2) -> int:
        return times * n


class Send(NonBlockingNode):
    def execute(self, n: int) -> int:
        return n


def split(n: int) -> Iterator[int]:
    yield n


def graph_of_all_kinds(branch: str = "positive") -> Graph:
    graph = Graph("all")
    numbers = graph.add(Numbers())
    sign = graph.add(Sign(), numbers)
    with graph.loop("far", processes=2):
        double = graph.add(Double(), sign.branch(branch), times=3)
        graph.add(Send(), double)
        graph.add(split, double)
    writer = graph.add(QueueWriter("queue"), numbers)
    with graph.loop("end"):
        graph.add(QueueReader(), writer)
    return graph


def input_of(value: object) -> Any:
    graph = Graph("test")
    graph.add(lambda n: n, value, id="node")
    return json.loads(graph.to_json())["nodes"][0]["inputs"]["n"]


def test_json_holds_the_name_and_the_loops() -> None:
    content = json.loads(graph_of_all_kinds().to_json())
    assert content["name"] == "all"
    assert content["loops"] == [
        {"name": "main", "processes": 1},
        {"name": "far", "processes": 2},
        {"name": "end", "processes": 1},
    ]


def test_json_holds_all_of_each_node() -> None:
    graph = graph_of_all_kinds()
    nodes = {node["id"]: node for node in json.loads(graph.to_json())["nodes"]}
    assert list(nodes) == ["numbers", "sign", "double", "send", "split", "queue_writer", "queue_reader"]
    assert nodes["double"] == {
        "id": "double",
        "kind": "blocking",
        "loop": "far",
        "target": f"{__name__}.Double",
        "ports": [{"name": "n", "required": True}, {"name": "times", "required": False}],
        "inputs": {"n": {"from": "sign", "branch": "positive"}, "times": {"constant": 3}},
        "fans_out": False,
        "location": str(graph.nodes["double"].location),
    }
    assert nodes["queue_writer"]["queue"] == "queue"
    assert nodes["queue_reader"]["queue"] is None
    assert nodes["split"]["fans_out"] is True
    kinds = [node["kind"] for node in nodes.values()]
    assert kinds == ["producer", "logical", "blocking", "non-blocking", "blocking", "writer", "reader"]


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "a", [1, [2]], {"a": {"b": None}}], ids=repr)
def test_json_holds_a_constant_as_it_is(value: object) -> None:
    assert input_of(value) == {"constant": value}


@pytest.mark.parametrize(
    "value", [(1, 2), {1: "a"}, {(1, 2): 3}, {1}, math.inf, datetime.date(2024, 2, 3), [b"a"]], ids=repr
)
def test_json_gives_other_constants_by_their_repr(value: object) -> None:
    assert input_of(value) == {"constant": repr(value)}


def test_json_holds_constants_that_hold_themselves() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert input_of(endless) == {"constant": "[[...]]"}


def test_json_names_what_a_node_is_made_of() -> None:
    graph = Graph("test")
    for target in (functools.partial(split, 1), len, "a".upper, Numbers().produce):
        graph.add(target, *([] if target is not len else ["abc"]))
    targets = [node["target"] for node in json.loads(graph.to_json())["nodes"]]
    assert targets == [f"{__name__}.split", "builtins.len", "str.upper", f"{__name__}.Numbers.produce"]


NODE = re.compile(r'    (n\d+)(\(\["[^"]+"\]\)|\["[^"]+"\]|\[\["[^"]+"\]\]|\{"[^"]+"\}|\[/"[^"]+"\\\]|\[\\"[^"]+"/\])')
LINK = re.compile(r'  (n\d+) -->\|"[^"\n]+"\| (n\d+)')


def test_mermaid_draws_a_box_for_each_loop_and_an_arrow_for_each_edge() -> None:
    assert graph_of_all_kinds().to_mermaid().splitlines() == [
        "flowchart LR",
        '  subgraph l0["main"]',
        '    n0(["numbers"])',
        '    n1{"sign"}',
        '    n5[\\"queue_writer"/]',
        "  end",
        '  subgraph l1["far x2"]',
        '    n2["double"]',
        '    n3[["send"]]',
        '    n4["split"]',
        "  end",
        '  subgraph l2["end"]',
        '    n6[/"queue_reader"\\]',
        "  end",
        '  n0 -->|"n"| n1',
        '  n1 -->|"positive → n"| n2',
        '  n2 -->|"n"| n3',
        '  n2 -->|"n"| n4',
        '  n0 -->|"value"| n5',
        '  n5 -->|"channel"| n6',
    ]


@pytest.mark.parametrize("branch", ['say "no"', "a|b", "x\ny", "#quot;", "<b>", "`code`", "a]) --> n9", "&amp;", "\\"])
def test_mermaid_stays_valid_with_odd_branch_names(branch: str) -> None:
    lines = graph_of_all_kinds(branch).to_mermaid().split("\n")
    inner = [line for line in lines[1:] if not line.startswith("  subgraph") and line != "  end"]
    nodes = {found.group(1) for line in inner if (found := NODE.fullmatch(line))}
    links = [found.groups() for line in inner if (found := LINK.fullmatch(line))]
    assert len(nodes) + len(links) == len(inner) == 7 + 6
    assert {end for link in links for end in link} <= nodes
    assert not any(mark in line for line in inner for mark in ("<", "`", "&", "#quot"))


def test_mermaid_names_an_escaped_character_by_its_number() -> None:
    assert '"say #34;no#34; → n"' in graph_of_all_kinds('say "no"').to_mermaid()
    assert '"#35;quot; → n"' in graph_of_all_kinds("#quot;").to_mermaid()


def test_an_empty_graph_can_be_drawn() -> None:
    assert Graph("empty").to_mermaid() == "flowchart LR"
    assert json.loads(Graph("empty").to_json()) == {"name": "empty", "loops": [], "nodes": []}
