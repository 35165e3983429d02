"""What the server itself bears: its own benchmark program, with many commands on the way at once."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis.asyncio.connection import SSLConnection, parse_url

from benchmarks.design import Design, Figure, Figures, Medians, Round, Row
from benchmarks.pair import described
from benchmarks.report import Measure

PROGRAMS = ("valkey-benchmark", "redis-benchmark")

PIPELINE = 500
"""How many commands a connection sends before it looks for the answers."""

CONNECTIONS = 4
ITEMS = 1_000_000

_RATE = re.compile(r"([\d.]+) requests per second")


def _program() -> str | None:
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


def _run(task: Round) -> Figures:
    """Push as many items as the round has, one by a command, then pop them."""
    options = ["-n", str(task.items), "-P", str(PIPELINE), "-c", str(CONNECTIONS), "-q"]
    try:
        return {
            Figure.PUSH_COMMANDS: _rate(task.server.url, [*options, "LPUSH", task.key, json.dumps(described(0))]),
            Figure.POP_COMMANDS: _rate(task.server.url, [*options, "RPOP", task.key]),
        }
    finally:
        task.server.clean()


def _rate(url: str, arguments: Sequence[str]) -> float:
    """Requests per second.

    Raises:
        RuntimeError: the program failed; what it said went to stderr.
    """
    program = _program()
    assert program is not None
    command = [program, *_address(dict(parse_url(url))), *arguments]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    found = _RATE.findall(ended.stdout)
    if ended.returncode or not found:  # not check=True, whose error would show the password
        raise RuntimeError(f"{program} ended with code {ended.returncode} and gave {len(found)} rates")
    return float(found[-1])


def _address(options: dict[str, Any]) -> list[str]:
    """The program's arguments for the server."""
    if "path" in options:
        address = ["-s", options["path"]]
    else:
        address = ["-h", options.get("host", "localhost"), "-p", str(options.get("port", 6379))]
    if options.get("connection_class") is SSLConnection:
        address.append("--tls")
    for option, name in {"--user": "username", "-a": "password", "--dbnum": "db"}.items():
        if name in options:
            address += [option, str(options[name])]
    return address


SERVER = Design("the server by itself", ITEMS, _run)


def _measures(medians: Medians) -> list[Measure]:
    figures, program = medians[SERVER.name], Path(_program() or "").name
    return [
        Measure(f"server: LPUSH by {program}", figures[Figure.PUSH_COMMANDS], "items/s"),
        Measure(f"server: RPOP by {program}", figures[Figure.POP_COMMANDS], "items/s"),
    ]


def _obstacle() -> str | None:
    if _program() is not None:
        return None
    return f"neither {' nor '.join(PROGRAMS)} is on PATH; each comes with its server's package"


ROW = Row(
    name="server",
    summary=f"""\
items/s of the server's own {" or ".join(PROGRAMS)}: LPUSH, then RPOP, of one such item by a
command, {PIPELINE} commands on the way at once on each of {CONNECTIONS} connections.""",
    designs=[SERVER],
    measures=_measures,
    obstacle=_obstacle,
)
