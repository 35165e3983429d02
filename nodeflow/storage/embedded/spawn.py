"""Start the watchdog's process and wait until its server answers."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from nodeflow.errors import EmbeddedServerError
from nodeflow.storage.embedded import binary
from nodeflow.storage.embedded.launcher import KILLED
from nodeflow.storage.embedded.paths import ServerPaths
from nodeflow.storage.embedded.process import ServerOptions

LOG_BYTES = 1 << 20
"""A log that is larger is set aside, as `server.log.1`, before the next start."""

_LAST_LINES = 12


def spawn_watchdog(paths: ServerPaths, options: ServerOptions, within: float) -> None:
    """Have the launcher leave a watchdog behind; call it under the start lock.

    Args:
        paths: the server's files.
        options: how the server is run.
        within: how many seconds to wait; after them the watchdog may come up still.

    Raises:
        EmbeddedServerError: there is no binary, or the launcher failed; the message has its last words.
    """
    binary.find_binary()  # fails here, where the caller sees it
    if paths.log.exists() and paths.log.stat().st_size > LOG_BYTES:
        paths.log.replace(paths.log.with_name(f"{paths.log.name}.1"))
    log = os.open(paths.log, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        before = os.fstat(log).st_size
        code = _run(paths, options, within, log)
        if code > 0 and code != KILLED:  # whoever was killed left no reason not to try again
            said = os.pread(log, LOG_BYTES, before).decode(errors="replace")
            raise EmbeddedServerError(_failure(paths, said))
    finally:
        os.close(log)


def _run(paths: ServerPaths, options: ServerOptions, within: float, log: int) -> int:
    """The launcher's exit code, 0 where it takes too long."""
    # -P: the user's own files must not shadow the standard library in the watchdog.
    module = ["-P", "-m", "nodeflow.storage.embedded"]
    with subprocess.Popen(
        [sys.executable, *module, str(paths.folder), "--idle", str(options.idle), "--fsync", options.fsync],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd="/",
        env=_environment(),
        start_new_session=True,
    ) as launcher:
        try:
            return launcher.wait(within)
        except subprocess.TimeoutExpired:
            return 0
        finally:
            launcher.kill()  # only the launcher, never the watchdog that it forked


def _environment() -> dict[str, str]:
    """Ours, with nodeflow where the child finds it, however we did."""
    root = str(Path(__file__).resolve().parents[3])
    environment = dict(os.environ)
    # An installed package is found anyhow, and site-packages must not come before the standard library.
    if root not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        inherited = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join((root, inherited) if inherited else (root,))
    return environment


def _failure(paths: ServerPaths, said: str) -> str:
    lines = said.strip().splitlines()[-_LAST_LINES:] or ["(it said nothing)"]
    quoted = "\n".join(f"  {line}" for line in lines)
    return (
        f"the embedded server in {paths.folder} didn't start. The end of its log, {paths.log}:\n{quoted}\n"
        "Mend what it names and try again, or set NODEFLOW_URL to the address of another server"
    )
