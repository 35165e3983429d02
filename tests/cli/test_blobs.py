"""`nodeflow blobs`: what lies there, what is in it, and what is removed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.project import Project
from tests.storage.test_encryption import KEY

FLOW = """
    from nodeflow import Graph, node

    @node
    def numbers():
        yield from range(3)

    @node
    def large(n):
        import random
        return random.Random(n).randbytes(1_500_000).hex()

    @node
    def show(text):
        print("got", len(text))

    graph = Graph("TOKEN")
    with graph.loop("a"):
        made = graph.add(large, graph.add(numbers))
    with graph.loop("b"):
        graph.add(show, made)
"""


@pytest.fixture
def blobs(project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the blobs of the project."""
    monkeypatch.setenv("NODEFLOW_BLOBS", str(project.folder / "blobs"))
    return project.folder / "blobs"


@pytest.mark.slow
def test_large_values_of_a_job_go_through_blobs_which_can_be_looked_at_and_swept(project: Project, blobs: Path) -> None:
    project.write("flow.py", FLOW)
    assert project.run("run", "flow.py", "--quiet").stdout.count("got 3000000") == 3
    listed = [json.loads(line) for line in project.run("blobs", "list", "--json").stdout.splitlines()]
    assert len(listed) == 3
    assert json.loads(project.run("blobs", "stats", "--json").stdout) == {
        "place": str(blobs),
        "blobs": 3,
        "bytes": sum(blob["size"] for blob in listed),
    }
    project.run("blobs", "get", listed[0]["id"], "--to", "copy")
    assert len(json.loads((project.folder / "copy").read_text())) == 3_000_000
    project.run("blobs", "get", "--stored", listed[0]["id"], "-o", "stored")
    assert (project.folder / "stored").read_bytes() == (blobs / listed[0]["id"]).read_bytes()
    assert "is there already" in project.run("blobs", "get", listed[0]["id"], "--to", "copy", status=2).stderr
    assert "3 younger than an hour" in project.run("blobs", "sweep").stderr
    for path in blobs.glob("output_*"):
        os.utime(path, (0, 0))
    assert "would remove 3 blobs" in project.run("blobs", "sweep", "--dry-run").stderr
    assert "removed 3 blobs" in project.run("blobs", "sweep").stderr
    assert project.run("blobs", "list").stdout == ""


@pytest.mark.slow
def test_blobs_are_removed_by_id_and_only_when_that_is_meant(project: Project, blobs: Path) -> None:
    project.write("flow.py", FLOW)
    project.run("step", "flow.py", "large")
    (blob_id, *_) = project.run("blobs", "list").stdout.split()
    assert project.run("blobs", "rm", blob_id, status=1).stdout.startswith("Remove 1 blob for good")
    assert (blobs / blob_id).exists()
    assert "removed 1 blob" in project.run("blobs", "rm", "--yes", blob_id).stdout
    assert f"blob {blob_id} is not in {blobs}" in project.run("step", "flow.py", "show", status=1).stderr
    assert "is no id of a blob" in project.run("blobs", "get", "../flow.py", status=2).stderr


@pytest.mark.slow
def test_a_graph_has_the_blobs_that_its_data_refer_to(project: Project, blobs: Path) -> None:
    project.write("flow.py", FLOW)
    project.write("other.py", FLOW.replace('"TOKEN"', '"TOKEN-2"'))
    project.run("step", "flow.py", "large")
    project.run("step", "other.py", "large")
    (own,) = [json.loads(line) for line in project.run("blobs", "list", "flow.py", "--json").stdout.splitlines()]
    (other,) = [json.loads(line) for line in project.run("blobs", "list", "other.py", "--json").stdout.splitlines()]
    assert own["id"] != other["id"]
    assert json.loads(project.run("blobs", "stats", "flow.py", "--json").stdout)["blobs"] == 1
    assert len(json.loads(project.run("blobs", "get", "flow.py", own["id"]).stdout)) == 3_000_000
    assert "is no blob of flow.py" in project.run("blobs", "get", "flow.py", other["id"], status=2).stderr
    assert "is no blob of flow.py" in project.run("blobs", "rm", "--yes", "flow.py", other["id"], status=2).stderr
    assert "2 younger" in project.run("blobs", "sweep", "flow.py").stderr
    project.run("blobs", "rm", "--yes", "flow.py", own["id"])
    assert project.run("blobs", "list", "flow.py").stdout == ""


def test_a_blob_that_is_not_there_leaves_no_file(project: Project, blobs: Path) -> None:
    missing = "output_" + "0" * 32
    assert f"blob {missing} is not in" in project.run("blobs", "get", missing, "-o", "copy", status=1).stderr
    assert not (project.folder / "copy").exists()


@pytest.mark.slow
def test_a_person_who_waits_for_a_large_blob_sees_a_bar(project: Project, blobs: Path) -> None:
    project.write(
        "flow.py",
        """
        import os
        from nodeflow import Graph

        def large():
            return os.urandom(100_000_000)

        def size(data) -> int:
            return len(data)

        graph = Graph("TOKEN")
        graph.add(size, graph.add(large))
        """,
    )
    shown = project.on_a_terminal("step", "flow.py", "large")
    assert "is written" in shown
    assert "large: 1 item" in shown
    assert "size: 1 item" in project.on_a_terminal("step", "flow.py", "size")
    assert "is written" not in project.run("step", "flow.py", "large").stderr


def test_a_blob_that_is_gone_can_not_be_removed_and_a_graph_needs_a_blob(project: Project, blobs: Path) -> None:
    missing = "output_" + "0" * 32
    assert f"{missing} is not in {blobs}: nothing was removed" in project.run("blobs", "rm", missing, status=2).stderr
    assert "behind a graph's FILE there must be one" in project.run("blobs", "get", "flow.py", status=2).stderr


@pytest.mark.slow
def test_what_is_kept_with_a_key_that_is_lost_is_made_anew(
    project: Project, blobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("flow.py", FLOW)
    monkeypatch.setenv("NODEFLOW_KEYS", f"k1:{KEY}")
    project.run("step", "flow.py", "numbers")
    monkeypatch.delenv("NODEFLOW_KEYS")
    (status, *_) = [json.loads(line) for line in project.run("status", "flow.py", "--json").stdout.splitlines()]
    assert status["state"] == "not kept"
    assert "encrypted with key 'k1'; the keys here (NODEFLOW_KEYS): none" in status["why"][0]
    project.run("step", "flow.py", "numbers")
    assert project.run("outputs", "flow.py", "numbers").stdout == "numbers.0  0\n"
