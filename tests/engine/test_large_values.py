"""Arrays, files and references in a graph: by value or as handles, in both modes, and what becomes of lost blobs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.project import Project

FLOW = """
    from pathlib import Path
    import numpy as np
    from nodeflow import File, Graph, RefValue, node

    def arrays():
        buffer = np.zeros(200_000)
        for number in range(3):
            buffer[:] = number  # the same buffer again and again
            yield buffer

    def files():
        for number in range(3):
            path = Path(f"part_{number}.txt")
            path.write_text(str(number) * 2_000_000)
            yield File(path)

    def passed(x: RefValue) -> RefValue:
        print(f"passed {type(x).__name__} {x.size}")
        return x

    def mean(x) -> float:
        print("mean", x.mean(), type(x).__name__)
        x = x + 1
        return x.mean()

    def first(file: File) -> str:
        path = file.path
        print("first", path.name, path.read_text()[:2], path.parent != Path.cwd())
        return file.name

    def both(x, file: File | None = None):
        print("both", x)

    graph = Graph("TOKEN")
    with graph.loop("a"):
        made = graph.add(arrays)
        paths = graph.add(files)
    with graph.loop("b"):
        handle = graph.add(passed, made)
        graph.add(first, paths)
    with graph.loop("c"):
        graph.add(mean, handle)
        graph.add(passed, handle, id="again")
"""


@pytest.fixture
def blobs(project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the blobs of the project."""
    monkeypatch.setenv("NODEFLOW_BLOBS", str(project.folder / "blobs"))
    return project.folder / "blobs"


def ids(blobs: Path) -> list[str]:
    """The blobs that lie in a folder."""
    return [path.name for path in blobs.glob("output_*")]


def test_a_job_gives_handles_to_whom_wants_them_and_values_to_all_others(project: Project, blobs: Path) -> None:
    project.write("flow.py", FLOW)
    printed = project.run("run", "flow.py", "--quiet").stdout.splitlines()
    assert printed.count("passed FileRefValue 1600128") == 6, "twice each: in loop b and in loop c"
    assert sorted(line for line in printed if line.startswith("mean")) == [f"mean {n}.0 ndarray" for n in range(3)]
    assert sorted(line for line in printed if line.startswith("first")) == [
        f"first part_{n}.txt {n}{n} True" for n in range(3)
    ]
    assert len(ids(blobs)) == 6, "whoever passes a handle on shares its blob"


@pytest.mark.slow
def test_development_mode_does_the_same_one_node_at_a_time(project: Project, blobs: Path) -> None:
    project.write("flow.py", FLOW)
    assert "passed FileRefValue 1600128" in project.run("step", "flow.py", "passed", "--items", "all").stdout
    assert "passed FileRefValue 1600128" in project.run("step", "flow.py", "passed").stdout
    assert "mean 2.0 ndarray" in project.run("step", "flow.py", "mean").stdout
    assert "first part_1.txt 11 True" in project.run("step", "flow.py", "first", "--items", "2").stdout
    assert "passed FileRefValue" in project.run("step", "flow.py", "again").stdout
    states = [json.loads(line) for line in project.run("status", "flow.py", "--json").stdout.splitlines()]
    assert {state["node"]: state["state"] for state in states} == {
        "arrays": "fresh",
        "files": "fresh",
        "passed": "fresh",
        "first": "fresh",
        "mean": "fresh",
        "again": "fresh",
    }
    assert next(state for state in states if state["node"] == "arrays")["size"] > 4_000_000
    assert "missing" not in project.run("outputs", "flow.py", "arrays").stdout


LOSING = """
    import os
    from pathlib import Path
    from nodeflow import Graph, RefValue, node

    def numbers():
        yield from range(4)

    @node(on_blob_error="HOW")
    def large(n):
        return {"n": n, "text": os.urandom(1_000_000).hex()}

    def lose(x: RefValue, ctx) -> int:
        number = int(ctx.item_id.rsplit(".", 1)[1])
        if number % 2 and x.blob_id:
            (Path(os.environ["NODEFLOW_BLOBS"]) / x.blob_id).unlink()
        return number

    def use(n: int, x=None) -> None:
        print("used", n, None if x is None else x["n"])

    def need(n: int, x) -> None:
        print("needed", n, x["n"])

    graph = Graph("TOKEN")
    with graph.loop("a"):
        l = graph.add(large, graph.add(numbers))
    with graph.loop("b"):
        lost = graph.add(lose, l)
        graph.add(use, lost, l)
        graph.add(need, lost, l)
"""


@pytest.mark.slow
def test_with_skip_what_follows_goes_on_without_a_value_whose_blob_is_lost(project: Project, blobs: Path) -> None:
    project.write("flow.py", LOSING.replace("HOW", "skip"))
    done = project.run("run", "flow.py", "--quiet")
    printed = sorted(line for line in done.stdout.splitlines() if line.startswith(("used", "needed")))
    assert printed == ["needed 0 0", "needed 2 2", "used 0 0", "used 1 None", "used 2 2", "used 3 None"]
    assert "goes on without what 'large' gave: blob output_" in done.stderr


@pytest.mark.slow
def test_with_fail_the_dead_letter_names_the_blob_the_node_and_the_run(project: Project, blobs: Path) -> None:
    project.write("flow.py", LOSING.replace("HOW", "fail"))
    done = project.run("run", "flow.py", "--quiet", status=3)
    assert "4 failed" in done.stdout
    letters = [json.loads(line) for line in project.run("dead-letters", "flow.py", "--json").stdout.splitlines()]
    assert sorted(letter["node"] for letter in letters) == ["need", "need", "use", "use"]
    for letter in letters:
        error = letter["error"]
        assert error["type"] == "BlobMissingError"
        assert f"blob {letter['input']['x']['descriptor']['storage_id']} is not in {blobs}" in error["message"]
        assert f"it holds what node 'large' gave in run {letter['job']}" in error["message"]
    project.run("dead-letters", "flow.py", "--clear")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["skip", "fail"])
def test_a_blob_that_can_not_be_written_touches_its_item_only(project: Project, blobs: Path, how: str) -> None:
    blobs.write_text("not a folder")
    project.write("flow.py", LOSING.replace("HOW", how).replace("os.urandom(1_000_000)", "os.urandom(n * 400_000)"))
    done = project.run("run", "flow.py", "--quiet", status=0 if how == "skip" else 3)
    assert "used 0 0" in done.stdout, "what is small needs no blob"
    if how == "skip":
        assert "what 'large' gave doesn't go to queue 'queue_large_lose': " in done.stderr
        return
    letters = [json.loads(line) for line in project.run("dead-letters", "flow.py", "--json").stdout.splitlines()]
    assert {letter["error"]["type"] for letter in letters} == {"BlobStoreError"}
    assert sorted(letter["input"]["n"] for letter in letters) == [2, 3]
    project.run("dead-letters", "flow.py", "--clear")


def test_each_item_of_a_fan_out_has_the_value_of_its_own_reference(project: Project, blobs: Path) -> None:
    project.write(
        "flow.py",
        """
        from nodeflow import Graph, RefValue

        def start():
            yield from range(3)

        def fan(one):
            for n in range(500):
                yield RefValue.of({"n": n})

        def passed(x: RefValue) -> RefValue:
            return x

        def take(x, again, ctx):
            number = int(ctx.item_id.rsplit(".", 1)[1])
            if (x["n"], again["n"]) != (number, number):
                raise ValueError(f"{x} and {again}, not {number}")

        graph = Graph("TOKEN")
        made = graph.add(fan, graph.add(start))
        graph.add(take, made, graph.add(passed, made))
        """,
    )
    assert "1,500 items done, 0 failed" in project.run("run", "flow.py", "--quiet").stdout


@pytest.mark.slow
def test_whatever_a_value_does_when_it_is_sent_touches_its_item_only(project: Project, blobs: Path) -> None:
    project.write(
        "flow.py",
        """
        import os
        from pathlib import Path
        from nodeflow import File, Graph, RefValue

        def numbers():
            yield from range(4)

        def made(n):
            name = os.fsdecode(b"odd\\xff") if n == 3 else f"file_{n}"
            Path(name).write_bytes(os.urandom(2_000_000))
            if n == 3:
                return File(name)
            ref = RefValue.of(File(name))
            if n == 2:
                Path(name).unlink()
            return ref

        def size(file: File) -> None:
            print("size", file.size)

        graph = Graph("TOKEN")
        with graph.loop("a"):
            m = graph.add(made, graph.add(numbers))
        with graph.loop("b"):
            graph.add(size, m)
        """,
    )
    done = project.run("run", "flow.py", "--quiet", status=3)
    assert done.stdout.count("size 2000000") == 2
    assert "2 failed" in done.stdout
    letters = [json.loads(line) for line in project.run("dead-letters", "flow.py", "--json").stdout.splitlines()]
    types = {letter["input"]["n"]: letter["error"]["type"] for letter in letters}
    assert types == {2: "BlobStoreError", 3: "PayloadError"}
    project.run("dead-letters", "flow.py", "--clear")
