"""The command of the dead letters: show them, count them, let them go on, remove them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from nodeflow.cli.common import File, Json, age_text, as_json, plural, shortened, with_engine
from nodeflow.engine import FlowEngine, JobStatus, LetterFilter
from nodeflow.errors import UsageError

_SHOWN = 10
_WIDTH = 60

Letter = Mapping[str, Any]


def dead_letters(
    file: File,
    letters: Annotated[list[str] | None, typer.Argument(help="Only these, by their ids.")] = None,
    node: Annotated[str | None, typer.Option("--node", help="Only those of a node.")] = None,
    error: Annotated[
        str | None,
        typer.Option("--error", metavar="TYPE|TEXT", help="Only those of a type of error, or with a text in it."),
    ] = None,
    job: Annotated[str | None, typer.Option("--job", help="Only those of a job, by its id.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only so many, the oldest.")] = None,
    summary: Annotated[
        bool, typer.Option("--summary", help="Count them by loop, node and type of error, most first.")
    ] = False,
    requeue: Annotated[
        bool, typer.Option("--requeue", help="Let them go on at the node that raised, in this run or the next one.")
    ] = False,
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove them for good; what waits for them goes on without.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask, as is done on a terminal.")] = False,
    json: Json = False,
) -> None:
    """Show the items on which nodes raised, and where, and those that could not be read; or requeue or remove them."""
    if requeue + clear + summary > 1:
        raise UsageError("--requeue, --clear and --summary: one at a time")
    which = LetterFilter(ids=frozenset(letters) if letters else None, node=node, error=error, job=job, limit=limit)
    asks = sys.stdin.isatty() and not yes and not letters
    if requeue:
        count, left = with_engine(file, partial(_requeue, which, asks))
        typer.echo(f"requeued {plural(count, 'dead letter')}")
        if left:
            typer.echo(f"{left:,} of other jobs stay: name one of these with --job, and it goes on", err=True)
    elif clear:
        _clear(file, which, asks)
    else:
        _show(*with_engine(file, partial(_found, which)), limit=limit, summary=summary, json=json)


async def _found(which: LetterFilter, engine: FlowEngine) -> tuple[list[Letter], str]:
    return [*await engine.dead_letters(which)], engine.place


async def _requeue(which: LetterFilter, asks: bool, engine: FlowEngine) -> tuple[int, int]:
    """Requeue dead letters: how many, and how many were left since nobody named them or their job."""
    able = await engine.requeueable(which.unlimited)
    left = len(await engine.dead_letters(which.unlimited)) - len(able)
    chosen = able[: which.limit]
    _ask(asks, "Requeue", chosen, engine.place)
    return await engine.requeue(_ids(chosen)), left


def _clear(file: str, which: LetterFilter, asks: bool) -> None:
    count, left, job = with_engine(file, partial(_cleared, which, asks))
    typer.echo(f"removed {plural(count, 'dead letter')}")
    if job:
        typer.echo(f"the next run goes on with job {job}, where something waited for them", err=True)
    if left:
        typer.echo(f"{left:,} of other jobs stay: something waits for them, and one job goes on at a time", err=True)


async def _cleared(which: LetterFilter, asks: bool, engine: FlowEngine) -> tuple[int, int, str]:
    """Remove dead letters: how many, how many of them were left, and the job that goes on without them."""
    chosen = await engine.dead_letters(which)
    _ask(asks, "Remove for good", chosen, engine.place)
    count = await engine.clear_dead_letters(None if which.is_open and not asks else _ids(chosen))
    jobs = [record.id for record in await engine.jobs() if record.status is JobStatus.REQUEUED]
    left = {*_ids(await engine.dead_letters())}.intersection(_ids(chosen))
    return count, len(left), jobs[0] if jobs else ""


def _ids(letters: Sequence[Letter]) -> list[str]:
    return [str(letter["letter"]) for letter in letters]


def _ask(asks: bool, what: str, letters: Sequence[Letter], place: str) -> None:
    """Say what would be touched, and stop unless that is agreed to."""
    if asks and letters:
        _show_groups(letters, Console(stderr=True))
        with _ended_by_ctrl_c():
            typer.confirm(f"{what}: {plural(len(letters), 'dead letter')} of {place}?", abort=True, err=True)


@contextmanager
def _ended_by_ctrl_c() -> Iterator[None]:
    """Have Ctrl-C end at once what holds up the event loop, which would only note it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _show(letters: Sequence[Letter], place: str, *, limit: int | None, summary: bool, json: bool) -> None:
    if json:
        for each in _groups(letters) if summary else letters:
            typer.echo(as_json(each))
        return
    if summary and letters:
        _show_groups(letters, Console())
    shown = [] if summary else letters[: limit or _SHOWN]
    for letter in shown:
        _show_letter(letter)
    typer.echo(f"{plural(len(letters), 'dead letter')} of {place}", err=bool(letters))
    if not summary and len(shown) < len(letters):
        typer.echo(
            f"shown are the oldest {len(shown)}: --limit N shows more, --summary counts them by node and error; "
            "--node, --error and --job choose among them",
            err=True,
        )


def _show_letter(letter: Letter) -> None:
    typer.echo(
        f"{letter['node']} on {letter['item']} (loop {letter['loop']}, attempt {letter['attempt']}), {letter['at']}"
    )
    typer.echo(f"  id {letter['letter']}")
    for port, value in letter["input"].items():
        typer.echo(f"  {port} = {shortened(value)}")
    why = letter["error"]["traceback"] or letter["error"]["message"]
    typer.echo("\n".join(f"  {line}" for line in why.splitlines()) + "\n")


def _groups(letters: Sequence[Letter]) -> list[dict[str, Any]]:
    """How many letters there are of each loop, node and type of error, most first."""
    found: dict[tuple[str, str, str], list[Letter]] = {}
    for letter in letters:
        found.setdefault((letter["loop"], letter["node"], letter["error"]["type"]), []).append(letter)
    return [
        {
            "count": len(each),
            "loop": loop,
            "node": node,
            "error": error,
            "oldest": each[0]["at"],
            "newest": each[-1]["at"],
            "message": each[-1]["error"]["message"],
        }
        for (loop, node, error), each in sorted(found.items(), key=lambda group: -len(group[1]))
    ]


def _show_groups(letters: Sequence[Letter], console: Console) -> None:
    table = Table("count", "loop", "node", "error", "oldest", "newest", "the newest says")
    for each in _groups(letters):
        ages = [age_text(datetime.fromisoformat(each[end])) for end in ("oldest", "newest")]
        message = each["message"].partition("\n")[0][:_WIDTH]
        table.add_row(f"{each['count']:,}", each["loop"], each["node"], each["error"], *ages, message)
    console.print(table, markup=False)
