"""Graphs that are built of a description; copied into a project, from where the processes of a job import it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any, Literal

from nodeflow import BlockingNode, Context, Graph, LogicalNode, NonBlockingNode, Retry, node
from nodes import Collect, FirstOf, QueueWriter


def numbers(count: int) -> Iterator[int]:
    """The first whole numbers."""
    yield from range(count)


def more(n: int, by: int) -> int:
    """A number and some more."""
    return n + by


def spread(n: int, most: int) -> Iterator[int]:
    """Some numbers for each, or none."""
    for each in range(n % (most + 1)):
        yield 10 * n + each


class Parity(LogicalNode[int]):
    """Sends numbers down one branch or the other, or both."""

    def choose(self, n: int) -> list[Literal["even", "odd"]]:
        """The branches of a number."""
        return ["even", "odd"] if n % 7 == 0 else ["even" if n % 2 == 0 else "odd"]


def fails(n: int, modulus: int) -> int:
    """Raises on some numbers, always."""
    if n % modulus == 1:
        raise ValueError(f"{n} is one of those")
    return n


def flaky(n: int, modulus: int, ctx: Context) -> int:
    """Raises on some numbers, twice."""
    if n % modulus == 1 and ctx.attempt <= 2:
        raise OSError(f"{n} is one of those")
    return n


def pair(a: int, b: int) -> int:
    """Both together."""
    return 3 * a + b


def maybe(a: int, b: int = -1) -> int:
    """Both together, or the first alone."""
    return 5 * a + b


def total(found: list[int]) -> int:
    """How many there are, and what they come to."""
    return 1_000 * len(found) + sum(found)


class Tally(BlockingNode):
    """Gives each number, and at the end what they come to."""

    def execute(self, n: int, ctx: Context) -> int:
        """Count one more."""
        ctx.state[n % 3] = ctx.state.get(n % 3, 0) + n
        ctx.push("seen", n)
        if n % 11 == 5:
            raise ValueError(f"{n} must not count")
        return n

    def finish(self, ctx: Context) -> int:
        """The sum."""
        return int(sum(ctx.state.values())) + 1_000_000


@node(retry=Retry(times=2, backoff=0.01))
class Recalls(BlockingNode):
    """Gives some numbers for each, or none, that depend on what it remembers of the item; raises in the midst of some.

    Args:
        most: how many at most.
        always: whether it raises in all attempts.
    """

    def __init__(self, most: int, *, always: bool) -> None:
        self.most, self.always = most, always

    def execute(self, n: int, ctx: Context) -> Iterator[int]:
        """The number, and how often it was here."""
        for each in range(n % (self.most + 1)):
            ctx.push("seen", 10 * n + each)
            ctx.state[ctx.item_id] = ctx.state.get(ctx.item_id, 0) + 1
            if each == n % 3 and n % 4 == 1 and (self.always or ctx.attempt <= 2):
                raise OSError(f"{n} is one of those")
            yield n + 1_000 * ctx.state[ctx.item_id]
        ctx.push("seen", -n)

    def finish(self, ctx: Context) -> Iterator[int]:
        """How many items there were, and what they come to."""
        yield len(ctx.state) + 2_000_000
        if ctx.attempt == 1 and not self.always:
            raise OSError("not yet")
        ctx.push("seen", len(ctx.state))
        yield sum(ctx.state.values()) + 3_000_000


@node(on_error="skip")
class RecallsOrSkips(Recalls):
    """As `Recalls`; what it raises is skipped, in the first attempt."""


class Unkept(int):
    """A number that stays in its loop: it can't be kept, nor sent."""


def unkept(n: int, modulus: int) -> int:
    """The number; some stay in the loop."""
    return Unkept(n) if n % modulus == 1 else n


def strays(n: int, most: int) -> Iterator[int]:
    """As `spread`; some of the numbers stay in the loop."""
    for each in spread(n, most):
        yield Unkept(each) if each % 3 == 1 else each


class Waits(NonBlockingNode):
    """Gives each number after a while, in order."""

    async def execute(self, n: int, ctx: Context) -> int:
        """The number."""
        await asyncio.sleep(n % 5 * 0.002)
        if n % 8 == 3:
            raise ValueError(f"{n} is one of those")
        ctx.push("seen", n)
        return n


@node(ordered=False, max_in_flight=3, retry=Retry(times=1, backoff=0.01))
class Races(NonBlockingNode):
    """Gives each number as soon as it can, in a thread; some in a second attempt."""

    def execute(self, n: int, ctx: Context) -> int:
        """The number."""
        time.sleep(n % 3 * 0.001)
        if n % 6 == 1 and ctx.attempt == 1:
            raise OSError(f"{n} is one of those")
        return n


class Running(BlockingNode):
    """Gives a number that depends on all before it of the same key, and on their order."""

    def execute(self, n: int, ctx: Context) -> int:
        """What the numbers so far come to."""
        before = ctx.state.get(key(n), 0)
        ctx.state[key(n)] = (31 * before + n) % 1_000_003
        return int(ctx.state[key(n)])


def key(n: int) -> int:
    """What some loops divide their numbers by."""
    return n % KEYS


KEYS = 5


def build(name: str, parts: list[dict[str, Any]], loops: list[dict[str, Any]]) -> Graph:
    """The graph of a description.

    Args:
        name: its name.
        parts: for each node its kind, its loop, the places of its inputs, and a number.
        loops: how many processes each loop has, and whether it divides its numbers by a key.
    """
    graph = Graph(name)
    outputs: list[Any] = []
    taken: set[int] = set()
    for place, part in enumerate(parts):
        taken.update(part["inputs"])
        inputs = [outputs[each] for each in part["inputs"]]
        loop = loops[part["loop"]]
        with graph.loop(f"loop{part['loop']}", processes=loop["processes"], by=key if loop["by"] else None):
            outputs.append(_add(graph, f"n{place}", part["kind"], inputs, part["number"]))
    for place, output in enumerate(outputs):
        if place not in taken:
            with graph.loop(f"loop{parts[place]['loop']}"):
                graph.add(QueueWriter(f"out{place}"), output, id=f"w{place}")
    return graph


def _add(graph: Graph, name: str, kind: str, inputs: list[Any], number: int) -> Any:
    if kind in ("even", "odd"):
        return graph.add(Parity(), *inputs, id=name).branch(kind)
    if kind == "either":
        parity = graph.add(Parity(), *inputs, id=f"{name}p")
        changed = graph.add(more, parity.branch("even"), by=100, id=f"{name}e")
        return graph.add(FirstOf(), changed, parity.branch("odd"), id=name)
    if kind == "collect":
        missing = "skip" if number % 2 else "wait"
        return graph.add(total, graph.add(Collect(missing), *inputs, id=f"{name}c"), id=name)
    target, constants = _plain(kind, number)
    return graph.add(target, *inputs, id=name, **constants)


def _plain(kind: str, number: int) -> tuple[Any, dict[str, int]]:
    again = node(retry=Retry(times=2, backoff=0.01))
    plain: dict[str, tuple[Any, dict[str, int]]] = {
        "numbers": (numbers, {"count": 20 + number}),
        "more": (more, {"by": number}),
        "spread": (spread, {"most": number % 4}),
        "fails": (fails, {"modulus": 3 + number}),
        "skips": (node(on_error="skip")(_copy(fails)), {"modulus": 2 + number}),
        "flaky": (again(_copy(flaky)), {"modulus": 2 + number}),
        "pair": (pair, {}),
        "both": (pair, {}),
        "maybe": (maybe, {}),
        "beside": (maybe, {}),
        "recalls": (Recalls(1 + number, always=False), {}),
        "breaks": (Recalls(1 + number, always=True), {}),
        "gives_up": (RecallsOrSkips(1 + number, always=True), {}),
        "unkept": (unkept, {"modulus": 2 + number}),
        "unsent": (node(on_error="skip")(_copy(unkept)), {"modulus": 2 + number}),
        "strays": (strays, {"most": 1 + number}),
        "breaks_off": (node(on_error="skip")(_copy(strays)), {"most": 1 + number}),
        "tally": (Tally(), {}),
        "running": (Running(), {}),
        "waits": (Waits(), {}),
        "races": (Races(), {}),
    }
    return plain[kind]


def _copy(function: Any) -> Any:
    """A function of its own, so that options don't stick to the one that all share."""
    if function is flaky:
        return lambda n, modulus, ctx: flaky(n, modulus, ctx)
    if function is strays:
        return lambda n, most: (yield from strays(n, most))
    return lambda n, modulus: function(n, modulus)
