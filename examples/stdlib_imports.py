"""Which modules does Python's standard library import, and in how many of its files?

    nodeflow run examples/stdlib_imports.py
    nodeflow step examples/stdlib_imports.py parse

Three loops: `find` yields the files, two processes `parse` them, `tally` counts and writes `stdlib_imports.json`.
"""

import ast
import json
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from nodeflow import BlockingNode, Branch, Context, Graph, LogicalNode, ProducerNode


class Find(ProducerNode[str]):
    """Yields the path of each .py file of the running Python's standard library."""

    def produce(self, ctx: Context) -> Iterator[str]:
        stdlib = Path(sysconfig.get_path("stdlib"))
        for path in sorted(stdlib.rglob("*.py")):
            if "site-packages" not in path.parts:
                yield str(path)


def imported_modules(tree: ast.Module) -> set[str]:
    """The absolute top-level modules that a file imports."""
    modules = set()
    for statement in ast.walk(tree):
        if isinstance(statement, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.level == 0 and statement.module:
            modules.add(statement.module.partition(".")[0])
    return modules


class Parse(LogicalNode[list[str] | str]):
    """Gives a file's imports, or its path on the branch `unreadable` when it doesn't parse."""

    def setup(self, ctx: Context) -> None:
        warnings.simplefilter("ignore", SyntaxWarning)  # the library's own tests are full of bad escapes

    def choose(self, path: str) -> Branch[list[str]] | Branch[str]:
        try:
            tree = ast.parse(Path(path).read_bytes())
        except Exception:
            return Branch("unreadable", path)
        return Branch("imports", sorted(imported_modules(tree)))


class Tally(BlockingNode):
    """Counts in how many files each module is imported, and writes the counts at the end."""

    def execute(self, ctx: Context, imports: list[str] | None = None, unreadable: str | None = None) -> None:
        counted = ["unreadable"] if imports is None else ["files", *(f"import {module}" for module in imports)]
        for each in counted:
            ctx.state[each] = ctx.state.get(each, 0) + 1

    def finish(self, ctx: Context) -> dict[str, object]:
        counts = dict(ctx.state)
        files, unreadable = counts.pop("files", 0), counts.pop("unreadable", 0)
        imports = {name.removeprefix("import "): count for name, count in sorted(counts.items())}
        result = {"files": files, "unreadable": unreadable, "imports": imports}
        Path("stdlib_imports.json").write_text(json.dumps(result, indent=2) + "\n")
        print(f"{files} files parsed, {unreadable} unreadable; most imported:")
        for module, count in sorted(imports.items(), key=lambda each: (-each[1], each[0]))[:10]:
            print(f"{count:6} {module}")
        return result


graph = Graph("stdlib_imports")

with graph.loop("find"):
    path = graph.add(Find())

with graph.loop("parse", processes=2):
    parsed = graph.add(Parse(), path)

with graph.loop("tally"):
    graph.add(Tally(), imports=parsed.branch("imports"), unreadable=parsed.branch("unreadable"))
