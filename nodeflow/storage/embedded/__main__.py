"""`python -m nodeflow.storage.embedded FOLDER`: leave a watchdog with its server behind."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from nodeflow.storage.embedded.launcher import launch
from nodeflow.storage.embedded.process import FSYNC, ServerOptions


def main() -> int:
    """Read the command line and launch; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m nodeflow.storage.embedded", description=__doc__)
    parser.add_argument("folder", type=Path, help="the .nodeflow folder that holds the server's data")
    parser.add_argument("--idle", type=float, default=60.0, help="seconds without a client before it stops")
    parser.add_argument("--fsync", choices=FSYNC, default="everysec", help="when writes are forced to the disk")
    options = parser.parse_args()
    return launch(options.folder, ServerOptions(options.idle, options.fsync))


if __name__ == "__main__":
    sys.exit(main())
