"""What the benchmarks share: their options, their measures, the table or JSON lines, the exit status."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from attrs import asdict, frozen
from rich import box
from rich.console import Console
from rich.table import Table

EPILOG = """\
The exit status is 0 when every limit is kept, 1 when one is missed, 2 for a wrong option.
With --json each line of stdout is one object: name, value, unit, limit (or null), ok.
"""


@frozen
class Measure:
    """One figure of a benchmark.

    Args:
        name: what was measured.
        value: the figure.
        unit: its unit, as in `items/s`.
        limit: what it must reach or not exceed; None when it is only reported.
        ok: whether the limit is kept.
    """

    name: str
    value: float
    unit: str
    limit: float | None = None
    ok: bool = True

    @classmethod
    def at_least(cls, name: str, value: float, unit: str, limit: float) -> Measure:
        """A measure that has to reach its limit."""
        return cls(name, value, unit, limit, value >= limit)

    @classmethod
    def at_most(cls, name: str, value: float, unit: str, limit: float) -> Measure:
        """A measure that must not exceed its limit."""
        return cls(name, value, unit, limit, value <= limit)


def options(prog: str, description: str | None, items: int, items_help: str) -> argparse.ArgumentParser:
    """The options that every benchmark has.

    Args:
        prog: the module's name, as in `benchmarks.queues`.
        description: what it measures.
        items: the usual amount.
        items_help: what the amount means.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {prog}",
        description=description,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--items", type=natural, default=items, metavar="N", help=f"{items_help} (default {items})")
    parser.add_argument(
        "--url",
        help="a server's URL; without it an embedded server is started in a temporary folder and stopped at the end",
    )
    parser.add_argument("--json", action="store_true", help="print JSON lines; the rest goes to stderr")
    return parser


def natural(text: str) -> int:
    """A whole number of at least 1, from the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {number}")
    return number


def progress(text: str) -> None:
    """Say on stderr how far the benchmark is."""
    print(text, file=sys.stderr, flush=True)


def machine(*versions: str) -> str:
    """The machine and the versions, on one line.

    Args:
        versions: names and versions of what is measured beside Python and redis-py, the server's first.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    software = ", ".join([f"Python {platform.python_version()}", f"redis-py {version('redis')}", *versions])
    return f"{_cpu_model()}, {cores} cores, load {load}; {platform.system()} {platform.release()}; {software}"


def conclude(title: str, facts: str, measures: Sequence[Measure], *, as_json: bool) -> int:
    """Print the measures below the facts; returns the exit status."""
    if as_json:
        progress(facts)
        for measure in measures:
            print(json.dumps(asdict(measure)))
    else:
        print(facts)
        Console().print(_table(title, measures))
    return 0 if all(measure.ok for measure in measures) else 1


def _table(title: str, measures: Iterable[Measure]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("measured")
    table.add_column("value", justify="right")
    table.add_column("unit")
    table.add_column("limit", justify="right")
    table.add_column("ok")
    for measure in measures:
        verdict = "" if measure.limit is None else "yes" if measure.ok else "[bold red]NO[/]"
        table.add_row(measure.name, _figure(measure.value), measure.unit, _limit(measure), verdict)
    return table


def _limit(measure: Measure) -> str:
    if measure.limit is None:
        return ""
    is_least = (measure.value >= measure.limit) == measure.ok
    return f"{'≥' if is_least else '≤'} {_figure(measure.limit)}"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 or value == int(value) else f"{value:.3g}"


def _cpu_model() -> str:
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        for line in facts.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
