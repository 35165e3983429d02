"""The embedded server: a Valkey in the project's folder, shared by all processes of the project."""

from nodeflow.storage.embedded.binary import find_binary
from nodeflow.storage.embedded.paths import ServerPaths
from nodeflow.storage.embedded.server import ServerStatus, start, status, stop

__all__ = ["start", "status", "stop", "ServerStatus", "ServerPaths", "find_binary"]
