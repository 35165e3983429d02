"""How fast items go from one process to another: nodeflow's queues beside the naive design and others."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from textwrap import indent

from benchmarks import batches, latency, memory, mp_queue, server_limit, singles
from benchmarks.design import REFERENCE_ITEMS, Design, Row, take_turns
from benchmarks.others import PACKAGES
from benchmarks.report import conclude, machine, natural, options, progress
from benchmarks.server import server_for

ROWS = (
    batches.ROW,
    singles.ROW,
    latency.ROW,
    mp_queue.ROW,
    memory.ROW,
    *(package.row() for package in PACKAGES),
    server_limit.ROW,
)

DESCRIPTION = """\
How fast items go from a producer process to a consumer process, both at work at once. An item is about
140 bytes of JSON. The rows:

{rows}

The rounds of all designs take turns on the same server, and the figures are their medians. Each consumer
checks that every item arrives, in order where one task pushes; after each round no item may be left in the
server, nor anything that doesn't expire. The start of the processes isn't in the times.
"""


def main() -> int:
    """Read the options, measure, print; returns the exit status."""
    chosen = _parser().parse_args()
    rows = _measurable([row for row in ROWS if chosen.only is None or row.name in chosen.only])
    if chosen.profile is not None:
        chosen.profile.mkdir(parents=True, exist_ok=True)
    with server_for(chosen.url) as server:
        facts = machine(server.version(), *_versions(rows))
        medians = take_turns(_designs(rows), server, items=chosen.items, rounds=chosen.rounds, profiles=chosen.profile)
    measures = [measure for row in rows for measure in row.measures(medians)]
    return conclude("From one process to another", facts, measures, as_json=chosen.json)


def _parser() -> ArgumentParser:
    rows = "\n".join(f"  {row.name}\n{indent(row.summary, '    ')}" for row in ROWS)
    items_help = "items of each naive round; the amounts of the other rounds scale with it"
    parser = options("benchmarks.queues", DESCRIPTION.format(rows=rows), REFERENCE_ITEMS, items_help)
    parser.add_argument("--rounds", type=natural, default=3, metavar="N", help="rounds of each design (default 3)")
    parser.add_argument(
        "--only",
        action="append",
        choices=[row.name for row in ROWS],
        metavar="ROW",
        help="measure this row; can be given several times (default: all of them)",
    )
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="FOLDER",
        help="write cProfile's statistics of each process there, of the last round; the figures are lower then",
    )
    return parser


def _measurable(rows: Sequence[Row]) -> list[Row]:
    """The rows that can be measured here; of the others stderr tells what is missing."""
    measurable = []
    for row in rows:
        if obstacle := row.obstacle():
            progress(f"{row.name} is left out: {obstacle}")
        else:
            measurable.append(row)
    return measurable


def _designs(rows: Sequence[Row]) -> list[Design]:
    """All designs that the rows need, each once."""
    return list({design.name: design for row in rows for design in row.designs}.values())


def _versions(rows: Sequence[Row]) -> list[str]:
    return [f"{package} {version(package)}" for row in rows for package in row.packages]


if __name__ == "__main__":
    sys.exit(main())
