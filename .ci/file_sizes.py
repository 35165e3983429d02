"""Fails when a Python file has grown too long to be one idea."""

from __future__ import annotations

import sys
from pathlib import Path

LIMIT = 400
EXCEPTIONS: dict[str, int] = {}


def main() -> int:
    """Look at all Python files of the checkout; the exit status."""
    root = Path(__file__).parents[1]
    folders = ("nodeflow", "nodes", "postprocess", "tests", "benchmarks", "examples", ".ci")
    files = sorted(path for folder in folders for path in (root / folder).rglob("*.py"))
    long = []
    for path in files:
        name = path.relative_to(root).as_posix()
        lines = len(path.read_text().splitlines())
        if lines > EXCEPTIONS.get(name, LIMIT):
            long.append(f"{name}: {lines} lines, at most {EXCEPTIONS.get(name, LIMIT)}: is it still one idea?")
    print("\n".join(long) or f"{len(files)} files, none over {LIMIT} lines")  # noqa: T201
    return 1 if long else 0


if __name__ == "__main__":
    sys.exit(main())
