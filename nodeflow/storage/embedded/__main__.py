"""`python -m nodeflow.storage.embedded FOLDER --idle SECONDS`: leave a watchdog with its server behind."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from nodeflow.storage.embedded.launcher import launch


def main() -> int:
    """Read the command line and launch; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m nodeflow.storage.embedded", description=__doc__)
    parser.add_argument("folder", type=Path, help="the .nodeflow folder that holds the server's data")
    parser.add_argument("--idle", type=float, default=60.0, help="seconds without a client before it stops")
    options = parser.parse_args()
    return launch(options.folder, options.idle)


if __name__ == "__main__":
    sys.exit(main())
