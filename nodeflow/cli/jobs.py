"""The commands of production mode: run, jobs, dead-letters."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer

from nodeflow.cli.common import File, Json, as_json, plural, seconds_text, shortened, with_engine
from nodeflow.cli.progress import reporting
from nodeflow.engine import FlowEngine, JobRecord, JobResult, JobStatus
from nodeflow.errors import UsageError

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


def dead_letters(
    file: File,
    letters: Annotated[
        list[str] | None, typer.Argument(help="The dead letters to requeue, by their ids; all unless said.")
    ] = None,
    requeue: Annotated[
        bool, typer.Option("--requeue", help="Let them go on at the node that raised, in this run or the next one.")
    ] = False,
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove all for good; what waits for them goes on without.")
    ] = False,
    json: Json = False,
) -> None:
    """Show the items on which nodes raised, and where, and those that could not be read; or requeue them."""
    if clear and (requeue or letters):
        raise UsageError("--clear removes all dead letters: it goes with neither --requeue nor ids")
    if letters and not requeue:
        raise UsageError("ids go with --requeue: without it, all dead letters are shown")
    if requeue:
        count, left = with_engine(file, partial(_requeued, letters))
        typer.echo(f"requeued {plural(count, 'dead letter')}")
        if left:
            typer.echo(f"{left:,} of other jobs stay: name those of one job by their ids, and it goes on", err=True)
        return
    if clear:
        _clear(file)
        return
    _show_letters(file, json=json)


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


async def _letters(engine: FlowEngine) -> tuple[list[dict[str, Any]], str]:
    return await engine.dead_letters(), engine.place


def _clear(file: str) -> None:
    count, left, job = with_engine(file, _cleared)
    typer.echo(f"removed {plural(count, 'dead letter')}")
    if job:
        typer.echo(f"the next run goes on with job {job}, where something waited for them", err=True)
    if left:
        typer.echo(f"{left:,} of other jobs stay: something waits for them, and one job goes on at a time", err=True)


async def _cleared(engine: FlowEngine) -> tuple[int, int, str]:
    """Remove dead letters: how many, how many were left, and the job that goes on without them."""
    count = await engine.clear_dead_letters()
    jobs = [record.id for record in await engine.jobs() if record.status is JobStatus.REQUEUED]
    return count, len(await engine.dead_letters()), jobs[0] if jobs else ""


async def _requeued(letters: list[str] | None, engine: FlowEngine) -> tuple[int, int]:
    """Requeue dead letters: how many, and how many were left since nobody named them."""
    count = await engine.requeue(letters or None)
    return count, 0 if letters else len(await engine.dead_letters())


def _show_letters(file: str, *, json: bool) -> None:
    letters, place = with_engine(file, _letters)
    for letter in letters:
        if json:
            typer.echo(as_json(letter))
            continue
        typer.echo(
            f"{letter['node']} on {letter['item']} (loop {letter['loop']}, attempt {letter['attempt']}), {letter['at']}"
        )
        typer.echo(f"  id {letter['letter']}")
        for port, value in letter["input"].items():
            typer.echo(f"  {port} = {shortened(value)}")
        why = letter["error"]["traceback"] or letter["error"]["message"]
        typer.echo("\n".join(f"  {line}" for line in why.splitlines()) + "\n")
    if not json:
        typer.echo(f"{plural(len(letters), 'dead letter')} of {place}", err=bool(letters))


def _last_line(result: JobResult, file: str) -> str:
    line = f"{plural(result.done, 'item')} done, {result.failed:,} failed, in {seconds_text(result.seconds)}"
    if result.drained:
        waiting = ", ".join(f"{count:,} in {queue}" for queue, count in result.waiting.items()) or "none"
        line += f"; drained before the end, items that still wait: {waiting}"
        line += "; the next run goes on with it, or discards it with --fresh"
    if result.failed:
        line += f"; see nodeflow dead-letters {file}"
    return line
