"""The commands of development mode: step, status, outputs."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from nodeflow.cli.common import (
    File,
    Json,
    age_text,
    as_json,
    plural,
    seconds_text,
    shortened,
    shown,
    size_text,
    with_engine,
)
from nodeflow.engine import FlowEngine, KeptItem, KeptOutput, NodeStatus, State, StepPlan, StepResult, value_of
from nodeflow.engine.stepping.samples import in_words
from nodeflow.errors import UsageError

_COLOURS = {State.FRESH: "green", State.STALE: "yellow", State.MISSING: "dim", State.NOT_KEPT: "magenta"}
_SHOWN = 10

Node = Annotated[str, typer.Argument(metavar="NODE", help="The node's id.", show_default=False)]


def step(
    file: File,
    node: Node,
    items: Annotated[
        str | None,
        typer.Option(
            "--items",
            metavar="N|all",
            help="How many values of each producer and fan-out to take: a number, or 'all'. By default 1 of those that "
            "run, and all that is kept.",
        ),
    ] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Run the nodes before it whose output is stale, too.")
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would run and why, and run nothing.")] = False,
    json: Json = False,
) -> None:
    """Run one node on the kept output of those before it.

    What it gives is kept, for the nodes behind it. A missing output of a node before it is produced first.
    """
    wanted = _items(items)
    if plan:
        _show_plan(with_engine(file, lambda engine: engine.plan(node, items=wanted, refresh=refresh)), json)
        return

    async def say_and_step(engine: FlowEngine) -> StepResult:
        _announce(await engine.plan(node, items=wanted, refresh=refresh))
        return await engine.step(node, items=wanted, refresh=refresh)

    _show_result(file, with_engine(file, say_and_step), json)


def status(file: File, json: Json = False) -> None:
    """Show which kept outputs are fresh, which are stale and why."""
    found = with_engine(file, lambda engine: engine.status()).values()
    if json:
        for each in found:
            typer.echo(as_json(_status_data(each)))
        return
    table = Table("node", "loop", "state", "why", "items", "size", "age", "took")
    for each in found:
        made = each.at is not None
        kept = each.state in (State.FRESH, State.STALE)
        table.add_row(
            each.node,
            each.loop,
            f"[{_COLOURS[each.state]}]{each.state}[/]",
            ", ".join(each.why),
            f"{each.items}{' (sample)' if each.sample else ''}" if kept else "",
            size_text(each.size) if kept else "",
            age_text(each.at) if each.at else "",
            seconds_text(each.seconds or 0.0) if made else "",
        )
    Console().print(table)


def outputs(
    file: File,
    node: Node,
    json: Json = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with what a step that is under way elsewhere gives.")
    ] = False,
) -> None:
    """Print what is kept of a node, an item a line."""
    if follow:
        with_engine(file, lambda engine: _follow(engine, node, json))
        return
    kept = with_engine(file, lambda engine: engine.output(node))
    if kept is None:
        raise UsageError(f"nothing is kept of {node!r}: run `nodeflow step {file} {node}`")
    if kept.items is None or kept.at is None:
        raise UsageError(f"the output of {node!r} is not kept: {kept.reason}")
    for item in kept.items:
        _show_item(item, json)
    if not json:
        _note(f"{plural(len(kept.items), 'item')}{_sample_text(kept)}, made {age_text(kept.at)}")


async def _follow(engine: FlowEngine, node: str, json: bool) -> None:
    async with aclosing(engine.follow(node)) as items:
        async for item in items:
            _show_item(item, json)


def _show_item(item: KeptItem, json: bool) -> None:
    typer.echo(as_json(item.to_data()) if json else f"{item.id}  {_item_text(item, None)}")


def _items(text: str | None) -> int | Literal["all"] | None:
    if text is None or text == "all":
        return "all" if text else None
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--items takes a whole number from 1 on, or 'all', not {text!r}")
    return int(text)


def _show_plan(plan: StepPlan, json: bool) -> None:
    for run in plan.runs:
        typer.echo(as_json({"node": run.node, "why": run.why}) if json else f"would run {run.node}: {run.why}")
    _show_notes(plan)


def _show_result(file: str, result: StepResult, json: bool) -> None:
    for node, reason in result.not_kept.items():
        _note(f"{node} is not kept: {reason}")
    if json:
        for item in result.items:
            typer.echo(as_json(item.to_data()))
    else:
        for item in result.items[:_SHOWN]:
            typer.echo(f"{item.id}  {_item_text(item, 200)}")
        if len(result.items) > _SHOWN:
            _note(f"… and {len(result.items) - _SHOWN} more: nodeflow outputs {file} {result.node}")
    kept = "not kept" if result.node in result.not_kept else "kept"
    _note(
        f"{result.node}: {plural(len(result.items), 'item')}{_sample_text(result)} "
        f"in {seconds_text(result.seconds)}, {kept}"
    )


def _announce(plan: StepPlan) -> None:
    for run in plan.runs[:-1]:
        _note(f"running {run.node} first: {run.why}")
    _show_notes(plan)


def _show_notes(plan: StepPlan) -> None:
    for note in plan.notes:
        _note(f"{note}; it was used as it is: --refresh runs it first")


def _note(text: str) -> None:
    """Say something beside the values, which alone go to standard output."""
    typer.echo(text, err=True)


def _item_text(item: KeptItem, width: int | None) -> str:
    if item.to_data()["status"] == "skipped":
        return "skipped"
    value = value_of(item)
    return shortened(value, width) if width else shown(value)


def _sample_text(kept: KeptOutput | StepResult) -> str:
    return f" (a sample: {in_words(kept.sample)})" if kept.sample else ""


def _status_data(status: NodeStatus) -> dict[str, Any]:
    return {
        "node": status.node,
        "loop": status.loop,
        "state": str(status.state),
        "why": list(status.why),
        "items": status.items,
        "sample": dict(status.sample),
        "size": status.size,
        "at": status.at.isoformat() if status.at else None,
        "seconds": status.seconds,
    }
