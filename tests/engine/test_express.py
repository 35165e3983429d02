"""Plain items go a short way through a loop: what comes of them is what comes of the long way, in every case."""

from __future__ import annotations

import json
from collections import Counter

import redis

from tests.project import Project

FLOW = """
    import asyncio, time
    import anyio
    from nodeflow import BlockingNode, Context, Graph, ProducerNode, Retry, node
    from nodes import QueueWriter

    def numbers():
        yield from range(30)

    async def waits_for_none(n: int):
        await asyncio.sleep(0)
        return n

    async def waits(n: int):
        await asyncio.sleep(0.002)
        return n

    async def cancels_itself(n: int):
        with anyio.move_on_after(0):
            await anyio.sleep(5)
        return n

    def gives_what_is_awaited(n: int):
        return waits(n)

    async def gives_what_is_awaited_again(n: int):
        return waits_for_none(n)

    class Odd(str):
        pass

    def gives_odd(n: int):
        return Odd(n) if n == 7 else n

    def hangs(n: int):
        return asyncio.sleep(100) if n == 9 else n

    @node(retry=Retry(times=1, backoff=0.01))
    async def again(n: int, ctx: Context):
        if n == 11 and ctx.attempt == 1:
            await asyncio.sleep(0)
            raise OSError
        ctx.state["sum"] = ctx.state.get("sum", 0) + n
        if n == 13:
            ctx.state["sum"] += 100
            raise ValueError("put back")
        if n == 15:
            ctx.push("seen", n)
        return n

    class Last(BlockingNode):
        def execute(self, n: int, ctx: Context):
            ctx.state["list"] = [*ctx.state.get("list", []), n] if n == 3 else ctx.state.get("list", [])
            ctx.state["sum"] = ctx.state.get("sum", 0) + n
            return n
        def finish(self, ctx: Context):
            return ["sum", ctx.state["sum"], ctx.state["list"]]

    class Sends(BlockingNode):
        def execute(self, n: int, ctx: Context):
            ctx.state["sum"] = ctx.state.get("sum", 0) + n
            return [lambda: n] if n == 17 else [n]
        def finish(self, ctx: Context):
            return ["sum", ctx.state["sum"]]

    def chain(last):
        for each in (waits_for_none, waits, cancels_itself, gives_what_is_awaited, gives_what_is_awaited_again, hangs):
            last = graph.add(each, last)
        return last

    graph = Graph("TOKEN")
    with graph.loop("a", stall_timeout=0.3):
        first = chain(graph.add(numbers))
    with graph.loop("b", stall_timeout=0.3):
        second = graph.add(gives_odd, chain(first), id="odd")
    with graph.loop("c"):
        third = graph.add(again, first, id="again")
        graph.add(QueueWriter("out"), graph.add(Last(), third))
    with graph.loop("d"):
        fourth = graph.add(Sends(), third)
    with graph.loop("e"):
        graph.add(QueueWriter("sent"), fourth)
"""


def test_each_case_gives_what_the_long_way_gives(project: Project) -> None:
    project.write("flow.py", FLOW)
    done = project.run("run", "flow.py", "--quiet", status=3)
    letters = [json.loads(line) for line in project.run("dead-letters", "flow.py", "--json").stdout.splitlines()]
    found = Counter((letter["node"], letter["error"]["type"]) for letter in letters)
    assert found == {("hangs", "TimeoutError"): 1, ("again", "ValueError"): 1, ("sends", "PayloadError"): 1}
    (record,) = map(json.loads, project.run("jobs", "flow.py", "--json").stdout.splitlines())
    good = [n for n in range(30) if n != 9]
    counts = {node: each[0] for node, each in record["nodes"].items()}
    assert counts["numbers"] == counts["waits"] == counts["cancels_itself"] == 30
    assert counts["hangs"] == counts["odd"] == counts["gives_what_is_awaited_again_2"] == len(good)
    assert counts["again"] == counts["last"] == len(good) - 1
    with redis.Redis.from_url(project.url) as client:
        keys = [f"{{{project.token}}}:queue:{name}" for name in ("out", "seen", "sent")]
        out, seen, sent = ([json.loads(data) for data in reversed(client.lrange(key, 0, -1))] for key in keys)
        client.delete(*keys)
    values = [n for n in good if n != 13]
    assert seen == [15]
    sendable = [n for n in values if n != 17]
    assert Counter(map(str, sent)) == Counter(map(str, [*([n] for n in sendable), ["sum", sum(sendable)]]))
    assert Counter(map(str, out)) == Counter(map(str, [*values, ["sum", sum(values), [3]]]))
    assert f"{3 * (len(good) - 1)} items done, 3 failed" in done.stdout
    project.run("dead-letters", "flow.py", "--clear")
