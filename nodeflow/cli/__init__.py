"""The command `nodeflow`."""

from nodeflow.cli.main import main

__all__ = ["main"]
