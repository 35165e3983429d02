"""The command line: parses, calls the engine, shows what came of it, and tells it by the exit status."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from nodeflow.cli import blobs, develop, jobs, letters, server
from nodeflow.errors import GraphError, LoopDiedError, NodeflowError, UsageError

WRONG_USE = 2
FAILED = 1

app = typer.Typer(
    name="nodeflow",
    help="Step a graph node by node, run it as isolated processes, and see what came of it.",
    epilog="Exit status: 0 when all went well, 3 when items failed, 2 for a wrong use, 1 for anything else.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(jobs.run)
app.command()(develop.step)
app.command()(develop.status)
app.command()(develop.outputs)
app.command("jobs")(jobs.jobs)
app.command("dead-letters")(letters.dead_letters)
app.add_typer(blobs.app, name="blobs")
app.add_typer(server.app, name="server")


@app.callback()
def _options(
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=lambda on: _version(on)),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command; ends the process with its exit status."""
    try:
        app()
    except NodeflowError as error:
        text = error.headline if isinstance(error, LoopDiedError) else str(error)
        print(f"nodeflow: {text}", file=sys.stderr)  # noqa: T201
        sys.exit(WRONG_USE if isinstance(error, UsageError | GraphError) else FAILED)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"nodeflow {version('nodeflow')}")
        raise typer.Exit
