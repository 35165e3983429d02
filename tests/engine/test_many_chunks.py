"""A generator's many chunks are kept in one blob, which can be followed while the step is under way."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.project import Project
from tests.support import eventually

FLOW = """
    import time
    from pathlib import Path
    from nodeflow import Graph

    def words():
        for number in range(COUNT):
            yield {"n": number, "text": "w" * SIZE}
            if number == STOP:
                while not Path("go").exists():
                    time.sleep(0.01)

    def count(word) -> int:
        return word["n"]

    graph = Graph("TOKEN")
    graph.add(count, graph.add(words))
"""


@pytest.fixture
def blobs(project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the blobs of the project."""
    monkeypatch.setenv("NODEFLOW_BLOBS", str(project.folder / "blobs"))
    return project.folder / "blobs"


def flow(count: int, size: int = 10, stop: int = -1) -> str:
    """A flow whose producer gives so many chunks of such a size, and waits behind one of them."""
    return FLOW.replace("COUNT", str(count)).replace("SIZE", str(size)).replace("STOP", str(stop))


def listed(project: Project) -> list[str]:
    """The ids of all blobs."""
    return [json.loads(line)["id"] for line in project.run("blobs", "list", "--json").stdout.splitlines()]


def read(process: subprocess.Popen[str]) -> str:
    """The next line that a process writes."""
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "size", "blobs_kept"), [(100, 10, 0), (101, 10, 1), (20, 100_000, 1), (3, 2_000_000, 1)]
)
def test_more_than_100_chunks_or_a_mebibyte_are_one_blob(
    project: Project, blobs: Path, count: int, size: int, blobs_kept: int
) -> None:
    project.write("flow.py", flow(count, size))
    project.run("step", "flow.py", "words", "--items", "all")
    found = listed(project)
    assert len(found) == blobs_kept
    assert all(blob.startswith("streaming_") for blob in found)
    lines = project.run("outputs", "flow.py", "words", "--json").stdout.splitlines()
    assert [json.loads(line)["value"]["n"] for line in lines] == list(range(count))
    project.run("step", "flow.py", "count", "--items", "all")
    states = [json.loads(line) for line in project.run("status", "flow.py", "--json").stdout.splitlines()]
    assert [(state["state"], state["items"]) for state in states] == [("fresh", count), ("fresh", count)]
    assert states[0]["size"] > count * size


def test_the_chunks_are_followed_from_the_first_on_while_the_step_is_under_way(project: Project, blobs: Path) -> None:
    project.write("flow.py", flow(500, stop=300))
    with project.started("step", "flow.py", "words", "--items", "all") as step:
        eventually(lambda: blobs.exists() and list(blobs.glob("streaming_*")), 20, "the blob grows")
        with project.started("outputs", "flow.py", "words", "--follow", "--json") as following:
            first = [json.loads(read(following))["value"]["n"] for _ in range(101)]
            assert first == list(range(101))
            assert following.poll() is None
            (project.folder / "go").touch()
            rest = [json.loads(line)["value"]["n"] for line in following.stdout or ()]
            assert rest == list(range(101, 500))
            assert following.wait(20) == 0
        assert step.wait(20) == 0
    assert "nothing is kept" in project.run("outputs", "flow.py", "count", "--follow", status=2).stderr
    lines = project.run("outputs", "flow.py", "words", "--follow").stdout.splitlines()
    assert len(lines) == 500


@pytest.mark.slow
def test_a_step_that_fails_leaves_no_part_of_its_blob_and_what_was_kept_before(project: Project, blobs: Path) -> None:
    project.write("flow.py", flow(150))
    project.run("step", "flow.py", "words", "--items", "all")
    before = listed(project)
    project.replace("flow.py", "if number == -1:", "if number == 140 and 1 / 0:")
    assert "ZeroDivisionError" in project.run("step", "flow.py", "words", "--items", "all", status=1).stderr
    assert listed(project) == before
    assert len(project.run("outputs", "flow.py", "words").stdout.splitlines()) == 150


def test_a_generator_may_fill_the_same_object_again_and_again(project: Project, blobs: Path) -> None:
    project.write(
        "flow.py",
        """
        from nodeflow import Graph

        def rows():
            row = {}
            for number in range(3):
                row["n"] = number
                yield row

        graph = Graph("TOKEN")
        graph.add(rows)
        """,
    )
    project.run("step", "flow.py", "rows", "--items", "all")
    lines = project.run("outputs", "flow.py", "rows", "--json").stdout.splitlines()
    assert [json.loads(line)["value"]["n"] for line in lines] == [0, 1, 2]
