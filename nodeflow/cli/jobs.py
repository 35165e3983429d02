"""The commands of production mode: run, dead-letters."""

from __future__ import annotations

from typing import Annotated

import typer

from nodeflow.cli.common import File, Json, as_json, plural, seconds_text, shortened, with_engine
from nodeflow.cli.progress import reporting
from nodeflow.engine import FlowEngine, JobResult

ITEMS_FAILED = 3


def run(
    file: File,
    fresh: Annotated[bool, typer.Option("--fresh", help="Discard what an earlier job left in the channels.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show no progress; the last line and the loops' own output stay.")
    ] = False,
) -> None:
    """Run every loop in processes of its own.

    The job ends when its input is used up. Ctrl-C or SIGTERM drains: what is in hand is finished, the rest stays in
    the queues. A second one ends at once.
    """

    async def work(engine: FlowEngine) -> JobResult:
        with reporting(engine.graph, quiet=quiet) as observer:
            return await engine.run(fresh=fresh, observer=observer)

    result = with_engine(file, work)
    typer.echo(_last_line(result, file))
    raise typer.Exit(ITEMS_FAILED if result.failed else 0)


def dead_letters(
    file: File,
    clear: Annotated[bool, typer.Option("--clear", help="Remove all dead letters of the graph for good.")] = False,
    json: Json = False,
) -> None:
    """Show the items on which nodes raised, and where, and those that could not be read."""
    if clear:
        count = with_engine(file, lambda engine: engine.clear_dead_letters())
        typer.echo(f"removed {plural(count, 'dead letter')}")
        return
    letters = with_engine(file, lambda engine: engine.dead_letters())
    for letter in letters:
        if json:
            typer.echo(as_json(letter))
            continue
        typer.echo(
            f"{letter['node']} on {letter['item']} (loop {letter['loop']}, attempt {letter['attempt']}), {letter['at']}"
        )
        for port, value in letter["input"].items():
            typer.echo(f"  {port} = {shortened(value)}")
        why = letter["error"]["traceback"] or letter["error"]["message"]
        typer.echo("\n".join(f"  {line}" for line in why.splitlines()) + "\n")
    if not json:
        typer.echo(plural(len(letters), "dead letter"), err=bool(letters))


def _last_line(result: JobResult, file: str) -> str:
    line = f"{plural(result.done, 'item')} done, {result.failed:,} failed, in {seconds_text(result.seconds)}"
    if result.drained:
        waiting = ", ".join(f"{count:,} in {queue}" for queue, count in result.waiting.items()) or "none"
        line += f"; drained before the end, items that still wait: {waiting}"
    if result.waiting:
        line += " (a job can't be resumed yet: the next run wants --fresh, which discards them)"
    if result.failed:
        line += f"; see nodeflow dead-letters {file}"
    return line
