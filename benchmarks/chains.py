"""What Hamilton, LangGraph and Bytewax need for a chain of ten trivial nodes, where they are installed."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any, TypedDict
from uuid import uuid4

from benchmarks.report import Measure, progress

CHAIN = 10
BATCH = 100
"""How many items Bytewax takes at once; so many go through nodeflow's nodes at once, too."""


class State(TypedDict):
    """What goes from node to node in LangGraph."""

    n: int


def n0(head: int) -> int:
    """The first node of Hamilton's chain."""
    return head


def _behind(place: int) -> Callable[[int], int]:
    """The node of Hamilton's chain at a place: it names the one before by its parameter."""
    names: dict[str, Any] = {}
    exec(f"def n{place}(n{place - 1}: int) -> int:\n    return n{place - 1}\n", names)
    found: Callable[[int], int] = names[f"n{place}"]
    return found


def hamilton(items: int) -> float:
    """Seconds per item: for each the driver is executed once."""
    from hamilton import ad_hoc_utils, driver

    module = ad_hoc_utils.create_temporary_module(
        n0, *map(_behind, range(1, CHAIN)), module_name=f"chain_{uuid4().hex}"
    )
    built = driver.Builder().with_modules(module).build()
    began = time.perf_counter()
    for number in range(items):
        built.execute([f"n{CHAIN - 1}"], inputs={"head": number})
    return (time.perf_counter() - began) / items


def langgraph(items: int) -> float:
    """Seconds per item: for each the compiled graph is invoked once."""
    from langgraph.graph import END, START, StateGraph

    graph = StateGraph(State)
    names = [f"n{place}" for place in range(CHAIN)]
    for name in names:
        graph.add_node(name, lambda state: {"n": state["n"]})
    for name, following in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(name, following)
    compiled = graph.compile()
    began = time.perf_counter()
    for number in range(items):
        compiled.invoke({"n": number})
    return (time.perf_counter() - began) / items


def bytewax(items: int) -> float:
    """Seconds per item: all go through one dataflow."""
    from bytewax import operators
    from bytewax.dataflow import Dataflow
    from bytewax.testing import TestingSink, TestingSource, run_main

    flow = Dataflow("chain")
    stream = operators.input("head", flow, TestingSource(range(items), batch_size=BATCH))
    for place in range(CHAIN):
        stream = operators.map(f"n{place}", stream, lambda n: n)
    operators.output("out", stream, TestingSink([]))
    began = time.perf_counter()
    run_main(flow)
    return (time.perf_counter() - began) / items


PACKAGES: dict[str, tuple[str, Callable[[int], float], int]] = {
    "Hamilton": ("sf-hamilton", hamilton, 2_000),
    "LangGraph": ("langgraph", langgraph, 200),
    "Bytewax": ("bytewax", bytewax, 200_000),
}
"""By name: the distribution, what measures it, and with how many items."""


def of_others(rounds: int) -> list[Measure]:
    """What a node of theirs costs; packages that aren't installed are left out, and that is said."""
    found = []
    for name, (distribution, measured, items) in PACKAGES.items():
        try:
            release = version(distribution)
        except PackageNotFoundError:
            progress(f"{name} isn't installed (pip install {distribution}): left out")
            continue
        seconds = median(measured(items) for _ in range(rounds))
        found.append(Measure(f"a node of {name} {release}, in a chain of ten", seconds / CHAIN * 1e6, "µs"))
    return found
