"""What other programs put into a queue that a graph reads: to the dead letters with the reason; the loops live on."""

from __future__ import annotations

import json

import pytest

from tests.faults.test_exact import take_results
from tests.project import Project

FLOW = """
    import os
    import redis
    from nodeflow import Graph

    def numbers():
        with redis.Redis.from_url(os.environ["NODEFLOW_URL"]) as client:
            channel = "{TOKEN}:queue:queue_numbers_show"
            client.lpush(channel, b"not json", b'{"other": 1}', b"[1]", b"\\xff\\xfe", b'{"id": 5, "value": 1}')
            client.rpush("{TOKEN}:queue:queue_numbers_show:returned", b'{"v":2,"id":"x","attempt":1}\\n1')
            BIG
        yield from range(5)

    def show(n: int) -> None:
        print("got", n)

    graph = Graph("TOKEN")
    with graph.loop("a"):
        n = graph.add(numbers)
    with graph.loop("b"):
        graph.add(show, n)
"""


@pytest.mark.parametrize("is_big", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["small", "100 MB"])
def test_garbage_in_a_channel_goes_to_the_dead_letters_and_the_job_ends_well(project: Project, is_big: bool) -> None:
    big = 'client.lpush(channel, b"x" * 100_000_000)' if is_big else "pass"
    project.write("flow.py", FLOW.replace("BIG", big))
    done = project.run("run", "flow.py")
    assert sorted(line for line in done.stdout.splitlines() if line.startswith("got")) == [f"got {n}" for n in range(5)]
    letters = [json.loads(line) for line in project.run("dead-letters", "flow.py", "--json").stdout.splitlines()]
    reasons = [letter["error"]["message"] for letter in letters]
    expected = ["not JSON", "not JSON", "another program", "another program", "another program", "version 2"]
    if is_big:
        expected.append("100000000 bytes, more than the 67108864")
    for part in set(expected):
        assert sum(part in reason for reason in reasons) == expected.count(part), (part, reasons)
    assert len(reasons) == len(expected)
    assert "another program" in project.run("dead-letters", "flow.py").stdout
    project.run("dead-letters", "flow.py", "--clear")


AMONG = """
    import os
    import redis
    from nodeflow import Graph
    from nodes import QueueWriter

    def numbers():
        with redis.Redis.from_url(os.environ["NODEFLOW_URL"]) as client:
            for n in range(6000):
                if n % 1500 == 700:
                    client.lpush("{TOKEN}:queue:queue_numbers_show", b"not json")
                yield n

    def show(n: int) -> int:
        return n

    graph = Graph("TOKEN")
    with graph.loop("a"):
        n = graph.add(numbers)
    with graph.loop("b"):
        graph.add(QueueWriter("out"), graph.add(show, n))
"""


def test_garbage_among_many_items_of_a_lease_keeps_none_of_them_up(project: Project) -> None:
    project.write("flow.py", AMONG)
    assert "6,000 items done, 0 failed" in project.run("run", "flow.py", "--quiet").stdout
    assert take_results(project) == list(range(6000))
    assert "removed 4 dead letters" in project.run("dead-letters", "flow.py", "--clear", "--yes").stdout
