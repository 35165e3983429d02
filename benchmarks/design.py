"""Designs that take turns at the same work, and the rows of the table that compare them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from statistics import median

from attrs import field, frozen

from benchmarks.report import Measure, progress
from benchmarks.server import Server

REFERENCE_ITEMS = 30_000
"""The items of a naive round; the amounts of all designs are stated for it and scale with `--items`."""


class Figure(StrEnum):
    """What a round can find; the text is its unit."""

    RATE = "items/s"
    PUSH_RATE = "pushes/s"
    PUSH_COMMANDS = "LPUSH/s"
    POP_COMMANDS = "RPOP/s"
    PRODUCER_CPU = "µs of the producer's CPU per item"
    CONSUMER_CPU = "µs of the consumer's CPU per item"
    SERVER_CPU = "µs of the server's CPU per item"
    P50 = "µs at p50"
    P99 = "µs at p99"
    MEMORY = "MB"
    MEMORY_CHANGE = "MB of change"


Figures = Mapping[Figure, float]
"""What one round found, the most telling figure first."""

Medians = Mapping[str, Figures]
"""The medians of all rounds by the design's name."""


@frozen
class Round:
    """What one round has to do.

    Args:
        server: where.
        name: the queue's name, which no other round has.
        items: how many items.
        profiles: the folder for the profiles of both processes, None for none.
    """

    server: Server
    name: str
    items: int
    profiles: Path | None = None

    @property
    def key(self) -> str:
        """A key of this round's own."""
        return self.server.prefix + self.name

    @property
    def start_key(self) -> str:
        """The list on which the consumer says that it is ready."""
        return f"{self.key}:start"


@frozen
class Design:
    """One way to do the work.

    Args:
        name: what it is called in the progress and in `Medians`.
        items: how many items a round has at the usual `--items`.
        run: does one round.
        most_rounds: how many rounds say enough, None when each one counts.
    """

    name: str
    items: int
    run: Callable[[Round], Figures] = field(eq=False)
    most_rounds: int | None = None


@frozen
class Row:
    """Measures that belong together.

    Args:
        name: what `--only` calls it.
        summary: what is measured, for the help; its own lines.
        designs: what has to run for it.
        measures: what their medians come to.
        obstacle: tells why it can't be measured here and what to do about it, None when it can.
        packages: the installed packages that it measures.
    """

    name: str
    summary: str
    designs: Sequence[Design]
    measures: Callable[[Medians], list[Measure]]
    obstacle: Callable[[], str | None] = field(default=lambda: None, eq=False)
    packages: Sequence[str] = ()


def take_turns(
    designs: Iterable[Design], server: Server, *, items: int, rounds: int, profiles: Path | None = None
) -> Medians:
    """Run rounds of all designs in turn.

    Args:
        designs: each once.
        server: the same for all.
        items: how many items a naive round has; the others have as many times more or fewer as they state.
        rounds: how many of each design.
        profiles: where to write the profiles, None for none.
    """
    found: dict[str, list[Figures]] = {}
    for number in range(1, rounds + 1):
        for design in designs:
            if number > (design.most_rounds or rounds):
                continue
            amount = max(1, design.items * items // REFERENCE_ITEMS)
            name = f"{design.name.replace(' ', '-')}-{number}"
            figures = design.run(Round(server, name, amount, profiles))
            found.setdefault(design.name, []).append(figures)
            unit, value = next(iter(figures.items()))
            progress(f"round {number} of {rounds}, {design.name}: {value:,.0f} {unit}")
    return {name: _medians(each) for name, each in found.items()}


def _medians(rounds: Sequence[Figures]) -> Figures:
    return {figure: median(figures[figure] for figures in rounds) for figure in rounds[0]}
