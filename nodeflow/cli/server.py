"""The commands of the embedded server: status, stop."""

from __future__ import annotations

from typing import Annotated

import typer

from nodeflow.cli.common import plural, seconds_text, size_text
from nodeflow.errors import EmbeddedServerError
from nodeflow.settings import Settings

app = typer.Typer(help="Look at the embedded server of this folder, or stop it.", no_args_is_help=True)

NOT_RUNNING = 1


@app.command()
def status() -> None:
    """Show the embedded server; the exit status is 1 when none runs."""
    from nodeflow.storage import embedded

    folder = Settings.from_env().folder
    found = embedded.status(folder)
    if found is None:
        typer.echo(f"no embedded server runs in {folder}")
        raise typer.Exit(NOT_RUNNING)
    typer.echo(
        f"Valkey {found.version}, process {found.pid}, up {seconds_text(found.uptime)}\n"
        f"socket {found.socket}\n"
        f"{plural(found.clients, 'client')}, {plural(found.keys, 'key')}, {size_text(found.memory)} in use"
    )


@app.command()
def stop(
    force: Annotated[bool, typer.Option("--force", help="Stop it even when programs are connected to it.")] = False,
) -> None:
    """Save and stop the embedded server; the next use starts it again on what it had."""
    from nodeflow.storage import embedded

    folder = Settings.from_env().folder
    found = None if force else embedded.status(folder)
    if found is not None and found.clients:
        raise EmbeddedServerError(
            f"{plural(found.clients, 'connection')} to the embedded server in {folder}, of a job perhaps: "
            "stop what uses it first, or stop the server all the same with --force"
        )
    stopped = embedded.stop(folder)
    typer.echo("stopped" if stopped else f"no embedded server runs in {folder}")
