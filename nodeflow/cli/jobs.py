"""The commands of production mode: run, jobs."""

from __future__ import annotations

from typing import Annotated

import typer

from nodeflow.cli.common import File, Json, as_json, plural, seconds_text, with_engine
from nodeflow.cli.progress import reporting
from nodeflow.engine import FlowEngine, JobRecord, JobResult

ITEMS_FAILED = 3


def run(
    file: File,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Discard the job that was not done, and begin a new one.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show no progress; the last line and the loops' own output stay.")
    ] = False,
) -> None:
    """Run every loop in processes of its own; a job that was not done goes on where it was.

    The job ends when its input is used up. Ctrl-C or SIGTERM drains: what is in hand is finished, the rest stays in
    the queues. A second one ends at once.
    """

    async def work(engine: FlowEngine) -> JobResult:
        with reporting(engine.graph, quiet=quiet) as observer:
            return await engine.run(fresh=fresh, observer=observer)

    result = with_engine(file, work)
    typer.echo(_last_line(result, file))
    raise typer.Exit(ITEMS_FAILED if result.failed else 0)


def jobs(file: File, json: Json = False) -> None:
    """List the jobs of a graph, the last one last, and what waits where for one that isn't done."""
    records, waiting, place = with_engine(file, _known)
    for record in records:
        left = {} if record.is_done else waiting
        if json:
            typer.echo(as_json(record.to_data() | {"waiting": left}))
            continue
        done = sum(count.done for count in record.nodes.values())
        failed = sum(count.failed for count in record.nodes.values())
        counts = f"  {done:,} done, {failed:,} failed in all nodes" if record.nodes else ""
        deaths = f"  {plural(record.deaths, 'death')}" if record.deaths else ""
        status = "interrupted" if record.is_interrupted else record.status.value
        typer.echo(
            f"{record.id}  {status:8} {record.started:%Y-%m-%d %H:%M:%S}"
            f"  process {record.pid} on {record.host}{counts}{deaths}"
        )
        if record.why:
            lines = record.why.splitlines()
            typer.echo("  " + " ".join(dict.fromkeys([lines[0], lines[-1]])))  # a traceback's first and last line
        if left:
            typer.echo("  waiting: " + ", ".join(f"{depth:,} in {queue}" for queue, depth in left.items()))
    if not records and not json:
        typer.echo(f"no jobs of {place}", err=True)


async def _known(engine: FlowEngine) -> tuple[list[JobRecord], dict[str, int], str]:
    return await engine.jobs(), await engine.waiting(), engine.place


def _last_line(result: JobResult, file: str) -> str:
    line = f"{plural(result.done, 'item')} done, {result.failed:,} failed, in {seconds_text(result.seconds)}"
    if result.drained:
        waiting = ", ".join(f"{count:,} in {queue}" for queue, count in result.waiting.items()) or "none"
        line += f"; drained before the end, items that still wait: {waiting}"
        line += "; the next run goes on with it, or discards it with --fresh"
    if result.failed:
        line += f"; see nodeflow dead-letters {file}"
    return line
