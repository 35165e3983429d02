"""Random graphs give in processes, some of which are killed, what they give in one clean pass."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nodeflow.engine import FlowEngine
from nodeflow.errors import GraphInvalidError, NodeFailedError
from nodeflow.graph import Kind
from nodeflow.storage import DataStore
from nodeflow.testing import GraphRun, run_graph
from tests.faults import random_graphs
from tests.faults.test_exact import with_patience
from tests.project import Project

pytestmark = pytest.mark.slow

GRAPHS = int(os.environ.get("NODEFLOW_RANDOM_GRAPHS", "30"))
"""How many graphs are tried; more find more."""

ONE = ("more", "even", "odd", "either", "fails", "skips", "flaky", "tally", "collect", "waits", "races")
STATE = ("recalls", "breaks", "gives_up")
FANS = ("spread", "strays", "breaks_off", *STATE)
UNKEPT = ("unkept", "unsent")
TWO = ("pair", "maybe")
ABOVE = ("flaky", "fails", "skips", "waits", "races", "even", "unkept", "unsent")
"""What may give a value that is taken below a generator."""
OUTER = ("both", "beside")
"""Take a generator's value, and beside it one from above the generator."""

Description = tuple[list[dict[str, Any]], list[dict[str, Any]]]


@st.composite
def descriptions(draw: st.DrawFn) -> Description:
    """What `random_graphs.build` takes."""
    parts: list[dict[str, Any]] = [{"kind": "numbers", "loop": 0, "inputs": [], "number": draw(st.integers(0, 30))}]
    below: list[tuple[int, ...]] = [()]  # the fan-outs that each stands below
    for place in range(1, draw(st.integers(3, 10))):
        several = {kind: inputs_of(kind, below) for kind in (*ONE, *FANS, *UNKEPT, *TWO, *OUTER)}
        kind = draw(st.sampled_from([kind for kind, inputs in several.items() if inputs]))
        inputs = [*draw(st.sampled_from(several[kind]))]
        earliest = max(parts[each]["loop"] for each in inputs)
        loop = draw(st.integers(earliest, min(3, earliest + 1)))
        parts.append({"kind": kind, "loop": loop, "inputs": inputs, "number": draw(st.integers(0, 5))})
        level = below[inputs[0]]
        below.append((*level, place) if kind in FANS else level[:-1] if kind == "collect" else level)
    alone = {part["loop"] for part in parts if part["kind"] in ("numbers", "tally", *STATE)}
    whole = {part["loop"] for part in parts if part["kind"] in ("numbers", "collect")}
    loops: list[dict[str, Any]] = [
        {"processes": 1, "by": loop not in whole and draw(st.booleans())} for loop in range(4)
    ]
    for number, options in enumerate(loops):
        if options["by"] or number not in alone:
            options["processes"] = draw(st.integers(1, 2))
    for place, part in enumerate(parts):
        if part["kind"] == "more" and loops[part["loop"]]["by"] and in_order(place, parts, loops):
            part["kind"] = "running"
    return parts, loops


@st.composite
def chains(draw: st.DrawFn) -> Description:
    """As `descriptions`: numbers that are divided by a key, and come to what depends on their order."""
    parts: list[dict[str, Any]] = [{"kind": "numbers", "loop": 0, "inputs": [], "number": draw(st.integers(10, 30))}]
    before = draw(st.lists(st.sampled_from(["more", "spread", "even", "fails", "waits"]), max_size=2))
    within = draw(st.lists(st.sampled_from(["more", "flaky", "fails", "waits", "races", "odd"]), max_size=4))
    if draw(st.booleans()):  # behind it nothing may overtake: values of one item don't wait for each other's retries
        within += [draw(st.sampled_from(STATE)), *draw(st.lists(st.sampled_from(["more", "waits", "odd"]), max_size=2))]
    behind = draw(st.lists(st.sampled_from(["tally", "more", "flaky"]), max_size=2))
    for loop, kinds in enumerate((before, [*within, "running"], behind)):
        for kind in kinds:
            number = draw(st.integers(0, 5))
            parts.append({"kind": kind, "loop": loop, "inputs": [len(parts) - 1], "number": number})
    divided = {"processes": draw(st.integers(1, 3)), "by": True}
    return parts, [{"processes": 1, "by": False}, divided, {"processes": 1, "by": False}]


def inputs_of(kind: str, below: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """What a node of a kind may take of nodes that stand below these fan-outs."""
    places = range(len(below))
    if kind in TWO:
        return [(a, b) for a in places for b in places if a != b and below[a] == below[b]]
    if kind in OUTER:
        return [(a, b) for a in places for b in places if below[a] != below[b] == below[a][: len(below[b])]]
    return [(each,) for each in places if below[each] or kind != "collect"]


@st.composite
def late(draw: st.DrawFn) -> Description:
    """As `descriptions`: values of a generator, and beside each one from above it, which may come late or never."""
    parts: list[dict[str, Any]] = [{"kind": "numbers", "loop": 0, "inputs": [], "number": draw(st.integers(0, 15))}]
    loop = draw(st.integers(0, 1))

    def add(kind: str, *inputs: int, loop: int = loop) -> int:
        parts.append({"kind": kind, "loop": loop, "inputs": [*inputs], "number": draw(st.integers(0, 5))})
        return len(parts) - 1

    outer = 0
    for kind in draw(st.lists(st.sampled_from(ABOVE), min_size=1, max_size=2)):
        outer = add(kind, outer)
    inner = add(draw(st.sampled_from(FANS)), draw(st.sampled_from((0, 0, outer))))
    for kind in draw(st.lists(st.sampled_from(["more", "spread", "tally", *ABOVE]), max_size=2)):
        inner = add(kind, inner)
    last = add(draw(st.sampled_from(OUTER)), *draw(st.permutations((inner, outer))))
    for kind in draw(st.lists(st.sampled_from(["more", "collect", "tally", "flaky"]), max_size=2, unique=True)):
        last = add(kind, last, loop=draw(st.integers(parts[last]["loop"], loop + 1)))
    by = loop == 1 and draw(st.booleans())
    divided = {"processes": draw(st.integers(1, 2)) if by else 1, "by": by}
    return parts, [{"processes": 1, "by": False}, divided, {"processes": 1, "by": False}]


def in_order(place: int, parts: list[dict[str, Any]], loops: list[dict[str, Any]]) -> bool:
    """Whether the numbers of one key come to a node in one order only, with that key."""
    source = parts[parts[place]["inputs"][0]]
    within = source["loop"] == parts[place]["loop"]
    if source["kind"] == "numbers":
        return True
    keeping = {"more", "even", "odd", "fails", "skips", "waits"}
    keeping |= {"flaky", "races"} if loops[source["loop"]]["by"] else {"spread"}
    if source["kind"] not in keeping or (not within and loops[source["loop"]] != {"processes": 1, "by": False}):
        return False
    return in_order(parts[place]["inputs"][0], parts, loops)


def in_one_pass(parts: list[dict[str, Any]], loops: list[dict[str, Any]]) -> GraphRun:
    """What the graph gives without processes; a wrong graph is none to be tried."""
    try:
        return run_graph(random_graphs.build("g", parts, loops))
    except GraphInvalidError:
        assume(False)
        raise


def outcome(pushed: dict[str, list[Any]], failed: list[dict[str, Any]]) -> Any:
    """What two runs must agree in."""
    letters = Counter((letter["node"], letter["item"].partition(".")[2], str(letter["input"])) for letter in failed)
    return {queue: Counter(map(str, values)) for queue, values in pushed.items()}, letters


def in_processes(project: Project, parts: list[dict[str, Any]], loops: list[dict[str, Any]], seed: int) -> Any:
    """What the graph gives in processes of which some are killed."""
    shutil.copy(random_graphs.__file__, project.folder / "random_graphs.py")
    project.write("flow.py", f"""
        import os
        from pathlib import Path
        from random_graphs import build
        Path(f"pid {{os.getpid()}}").touch()
        graph = build("TOKEN", {parts!r}, {loops!r})
    """)  # fmt: skip
    chance = random.Random(seed)
    with project.started("run", "flow.py", "--quiet") as supervisor:
        for _ in range(3):
            with_patience(supervisor, chance.uniform(0.3, 1.0))
            pids = [int(path.name.split()[1]) for path in project.folder.glob("pid *")]
            living = [pid for pid in pids if pid != supervisor.pid and Path(f"/proc/{pid}").exists()]
            if living and supervisor.poll() is None:
                with suppress(ProcessLookupError):
                    os.kill(chance.choice(living), signal.SIGKILL)
        _, errors = supervisor.communicate(timeout=50)
    assert supervisor.returncode in (0, 3), errors
    letters = [json.loads(line) for line in project.run("dead-letters", "flow.py", "--json").stdout.splitlines()]
    with redis.Redis.from_url(project.url) as client:
        found = {}
        for key in client.keys(f"{{{project.token}}}:queue:*"):
            name = key.decode().rpartition(":")[2]
            if name.startswith("out") or name == "seen":
                found[name] = [json.loads(data) for data in client.lrange(key, 0, -1)]
        client.delete(*client.keys(f"*{project.token}*"))
    for path in project.folder.glob("pid *"):
        path.unlink()
    return outcome(found, letters)


async def step_by_step(
    server_url: str, token: str, parts: list[dict[str, Any]], loops: list[dict[str, Any]]
) -> dict[str, list[Any]]:
    """What the graph gives to its queues when each of its nodes is stepped."""
    graph = random_graphs.build(token, parts, loops)
    found = {}
    async with DataStore.from_url(server_url) as store, FlowEngine(graph, store) as engine:
        for spec in graph.nodes.values():
            result = await engine.step(spec.id, items="all")
            if spec.kind is Kind.WRITER:
                found[str(spec.target.queue)] = result.values
    return found


@settings(max_examples=2 * GRAPHS, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(description=descriptions() | late())
def test_steps_give_what_one_clean_pass_gives(server_url: str, token: str, description: Description) -> None:
    clean = in_one_pass(*description)
    if clean.failed:
        assume(any("can't be" not in letter["error"]["message"] for letter in clean.failed))  # a step need not keep it
        with pytest.raises(NodeFailedError):
            asyncio.run(step_by_step(server_url, token, *description))
        return
    found = asyncio.run(step_by_step(server_url, token, *description))
    stepped = {queue: values for queue, values in found.items() if values}
    pushed = {queue: values for queue, values in clean.pushed.items() if values and queue != "seen"}
    assert outcome(stepped, []) == outcome(pushed, [])


@settings(max_examples=GRAPHS, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(description=descriptions() | chains() | late(), seed=st.integers(0, 1_000))
def test_processes_that_die_give_what_one_clean_pass_gives(
    project: Project, description: Description, seed: int
) -> None:
    parts, loops = description
    clean = in_one_pass(parts, loops)
    pushed = {queue: values for queue, values in clean.pushed.items() if values}
    assert in_processes(project, parts, loops, seed) == outcome(pushed, clean.failed)


def test_all_sorts_of_graphs_are_tried() -> None:
    """The strategy builds what it should: most of its graphs are right, and all kinds come up."""
    kinds: Counter[str] = Counter()

    def build(description: Description) -> None:
        in_one_pass(*description)
        kinds.update(part["kind"] for part in description[0])

    for strategy, count in ((descriptions(), 200), (chains(), 20), (late(), 50)):
        fixed = settings(max_examples=count, deadline=None, derandomize=True, database=None)
        settings(fixed, suppress_health_check=list(HealthCheck))(given(description=strategy)(build))()
    assert {*ONE, *FANS, *UNKEPT, *TWO, *OUTER, "running"} <= set(kinds)
    assert sum(kinds.values()) > 500
