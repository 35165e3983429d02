"""Locks on files, which the system takes back when their holder dies in whatever way."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

POLL = 0.02
"""Seconds between two tries for a lock that somebody else holds."""


class FileLock:
    """An exclusive lock (flock) on a file; made by `take` or `wait_for`.

    The lock belongs to the open file: a child that inherits the descriptor holds it too.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self.descriptor = path, descriptor

    @classmethod
    def take(cls, path: Path) -> FileLock | None:
        """The lock, or None when somebody else holds it.

        Raises:
            OSError: the file can't be opened, or its file system knows no locks.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        lock = cls(path, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        if lock.in_place():
            return lock
        lock.release()
        return None

    @classmethod
    def wait_for(cls, path: Path, seconds: float) -> FileLock | None:
        """The lock, or None when somebody else held it for all of that time."""
        deadline = time.monotonic() + seconds
        while (lock := cls.take(path)) is None and time.monotonic() < deadline:
            time.sleep(POLL)
        return lock

    def in_place(self) -> bool:
        """Whether the locked file still is the one at its path: its folder may have been deleted."""
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self.descriptor))

    def write_pid(self, pid: int) -> None:
        """Note for people and error messages who holds the lock."""
        with suppress(OSError):  # a full disk
            os.ftruncate(self.descriptor, 0)
            os.pwrite(self.descriptor, f"{pid}\n".encode(), 0)

    def release(self) -> None:
        """Unlock, also for processes that inherited the descriptor."""
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        os.close(self.descriptor)

    def bequeath(self) -> None:
        """Close our descriptor; a child that inherited it holds the lock on."""
        os.close(self.descriptor)


def is_held(path: Path) -> bool:
    """Whether some process holds the lock. Holds a shared one itself for an instant."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder(path: Path) -> str:
    """Who noted that they hold the lock, as in `pid 123`; for messages only, as it may be out of date."""
    try:
        pid = path.read_text().strip()
    except OSError:
        pid = ""
    return f"pid {pid or 'unknown'}"
