"""QueueMapper makes a channel wherever an edge crosses from one loop into another, and names each queue."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from nodeflow import Graph
from nodeflow.graph import Edge, Kind, NodeSpec, Output
from nodes import QueueReader, QueueWriter
from postprocess import QueueMapper, apply_passes
from tests.postprocess.graphs import Sign, graphs, one, same, three


@pytest.fixture
def graph() -> Graph:
    return Graph("test")


def mapped(graph: Graph) -> Graph:
    return QueueMapper().apply(graph)


def queues(graph: Graph) -> list[str]:
    """The names of the queues that are written to, in the order of the graph."""
    return [spec.target.queue for spec in graph.nodes.values() if spec.kind is Kind.WRITER]


def queue_of(graph: Graph, end: Output[Any]) -> str | None:
    queue: str | None = graph.nodes[end.node].target.queue
    return queue


def pair(graph: Graph, source: Output[Any], written: str | None = None, read: str | None = None) -> Output[Any]:
    writer = graph.add(QueueWriter(written), source)
    with graph.loop("far"):
        return graph.add(QueueReader(read), writer)


def test_a_graph_of_one_loop_stays_as_it_is(graph: Graph) -> None:
    graph.add(same, graph.add(one))
    assert mapped(graph).to_json() == graph.to_json()


def test_an_edge_into_another_loop_becomes_a_writer_and_a_reader(graph: Graph) -> None:
    source = graph.add(one)
    with graph.loop("far"):
        graph.add(same, source)
    nodes = mapped(graph).nodes
    writer, reader = nodes["queue_one_same_writer"], nodes["queue_one_same_reader"]
    assert list(nodes) == ["one", writer.id, reader.id, "same"]
    assert (writer.kind, writer.loop, writer.edges) == (Kind.WRITER, "main", {"value": Edge("one")})
    assert (reader.kind, reader.loop, reader.edges) == (Kind.READER, "far", {"channel": Edge(writer.id)})
    assert writer.target.queue == reader.target.queue == "queue_one_same"
    assert nodes["same"].edges == {"n": Edge(reader.id)}
    assert writer.location == reader.location == graph.nodes["same"].location


def test_made_ends_have_the_ports_of_written_ones(graph: Graph) -> None:
    source = graph.add(one)
    with graph.loop("far"):
        graph.add(same, source)
    made = mapped(graph).nodes
    reader = pair(graph, source)
    assert made["queue_one_same_writer"].ports == graph.nodes["queue_writer"].ports
    assert made["queue_one_same_reader"].ports == graph.nodes[reader.node].ports


def test_all_branches_and_targets_in_a_loop_share_one_channel(graph: Graph) -> None:
    sign = graph.add(Sign(), graph.add(one))
    with graph.loop("far"):
        graph.add(same, sign.branch("negative"), id="first")
        graph.add(three, sign.branch("positive"), sign.branch("negative"), id="second")
    nodes = mapped(graph).nodes
    assert queues(mapped(graph)) == ["queue_sign_first"]
    assert nodes["queue_sign_first_writer"].edges == {"value": Edge("sign")}
    reader = "queue_sign_first_reader"
    assert nodes["first"].edges == {"n": Edge(reader, "negative")}
    assert nodes["second"].edges == {"a": Edge(reader, "positive"), "b": Edge(reader, "negative")}


def test_each_loop_that_takes_from_a_node_has_a_channel_of_its_own(graph: Graph) -> None:
    source = graph.add(one)
    for loop in ("a", "b"):
        with graph.loop(loop):
            graph.add(same, source)
    assert queues(mapped(graph)) == ["queue_one_same", "queue_one_same_2"]


def test_each_source_has_a_channel_of_its_own(graph: Graph) -> None:
    first, second = graph.add(one, id="first"), graph.add(one, id="second")
    with graph.loop("far"):
        graph.add(three, first, second)
    assert queues(mapped(graph)) == ["queue_first_three", "queue_second_three"]


def test_a_pair_by_hand_is_named_after_the_nodes_at_its_ends(graph: Graph) -> None:
    reader = pair(graph, graph.add(one))
    with graph.loop("far"):
        graph.add(same, reader)
    assert queues(mapped(graph)) == ["queue_one_same"]
    assert queue_of(mapped(graph), reader) == "queue_one_same"
    assert len(mapped(graph).nodes) == 4


def test_a_pair_that_feeds_nothing_is_named_after_its_reader(graph: Graph) -> None:
    pair(graph, graph.add(one))
    assert queues(mapped(graph)) == ["queue_one_queue_reader"]


@pytest.mark.parametrize(("written", "read"), [("jobs", None), (None, "jobs"), ("jobs", "jobs")])
def test_a_name_given_by_hand_stays_and_names_both_ends(graph: Graph, written: str | None, read: str | None) -> None:
    reader = pair(graph, graph.add(one), written, read)
    assert (queues(mapped(graph)), queue_of(mapped(graph), reader)) == (["jobs"], "jobs")


def test_two_names_for_one_pair_are_left_for_the_validator(graph: Graph) -> None:
    reader = pair(graph, graph.add(one), "jobs", "other")
    assert (queues(mapped(graph)), queue_of(mapped(graph), reader)) == (["jobs"], "other")


def test_ends_without_a_partner_stay_as_they_are(graph: Graph) -> None:
    graph.add(QueueWriter("out"), graph.add(QueueReader("in")))
    graph.add(QueueWriter(), graph.add(QueueReader()))
    assert mapped(graph).to_json() == graph.to_json()


def test_of_two_channels_with_one_name_the_later_gets_a_suffix(graph: Graph) -> None:
    a, a_b = graph.add(one, id="a"), graph.add(one, id="a_b")
    with graph.loop("far"):
        graph.add(same, a, id="b_c")
        graph.add(same, a_b, id="c")
    assert queues(mapped(graph)) == ["queue_a_b_c", "queue_a_b_c_2"]


def test_a_name_given_by_hand_is_never_taken_by_another_channel(graph: Graph) -> None:
    source = graph.add(one)
    with graph.loop("near"):
        graph.add(same, source)
    pair(graph, source, "queue_one_same")
    assert queues(mapped(graph)) == ["queue_one_same_2", "queue_one_same"]


def test_the_ends_get_ids_that_no_node_has(graph: Graph) -> None:
    source = graph.add(one)
    graph.add(one, id="queue_one_same_writer")
    with graph.loop("far"):
        graph.add(same, source)
    assert "queue_one_same_writer_2" in mapped(graph).nodes
    assert mapped(graph).nodes["queue_one_same_writer"].kind is Kind.PRODUCER


def test_a_writer_by_hand_in_another_loop_is_fed_by_a_channel(graph: Graph) -> None:
    source = graph.add(one)
    with graph.loop("near"):
        writer = graph.add(QueueWriter("jobs"), source)
    assert queues(mapped(graph)) == ["queue_one_queue_writer", "jobs"]
    assert mapped(graph).nodes[writer.node].edges == {"value": Edge("queue_one_queue_writer_reader")}


def test_the_users_graph_and_instances_are_left_as_they_were(graph: Graph) -> None:
    source = graph.add(one)
    writer, reader = QueueWriter(), QueueReader()
    written = graph.add(writer, source)
    with graph.loop("far"):
        graph.add(three, graph.add(reader, written), source)
    before = graph.to_json()
    assert len(queues(mapped(graph))) == 2
    assert graph.to_json() == before
    assert (writer.queue, reader.queue) == (None, None)


# for every graph


def crossings(graph: Graph) -> list[tuple[NodeSpec, NodeSpec]]:
    nodes = graph.nodes
    return [
        (nodes[edge.source], spec)
        for spec in nodes.values()
        for edge in spec.edges.values()
        if nodes[edge.source].loop != spec.loop
    ]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graphs())
def test_twice_is_the_same_as_once(graph: Graph) -> None:
    before = graph.to_json()
    once = mapped(graph)
    assert graph.to_json() == before
    assert mapped(once).to_json() == once.to_json() == mapped(graph).to_json()
    assert apply_passes(graph, [QueueMapper(), QueueMapper()]).to_json() == once.to_json()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graphs())
def test_in_every_graph_only_queues_cross_loops_and_the_order_stays(graph: Graph) -> None:
    finished = mapped(graph)
    order = list(finished.nodes)
    assert all(
        order.index(edge.source) < order.index(spec.id)
        for spec in finished.nodes.values()
        for edge in spec.edges.values()
    )
    assert all((source.kind, target.kind) == (Kind.WRITER, Kind.READER) for source, target in crossings(finished))
    assert [node for node in order if node in graph.nodes] == list(graph.nodes)
    expected = {(source.id, target.loop) for source, target in crossings(graph) if source.kind is not Kind.WRITER}
    assert len(order) == len(graph.nodes) + 2 * len(expected)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graphs())
def test_in_every_graph_no_two_channels_share_a_name_by_accident(graph: Graph) -> None:
    given_names = Counter(spec.target.queue for spec in graph.nodes.values() if spec.kind in (Kind.READER, Kind.WRITER))
    for queue, count in Counter(queues(mapped(graph))).items():
        assert queue is None or count == 1 or given_names[queue] > 1
