"""Where the files of an embedded server lie, and who may open them."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from pathlib import Path

from attrs import frozen

from nodeflow.errors import EmbeddedServerError

# sun_path in <sys/un.h>, less its closing zero byte: 108 bytes on Linux, 104 on macOS and the BSDs.
SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103


@frozen
class ServerPaths:
    """The files of the embedded server of one folder; every process works out the same ones.

    Args:
        folder: the project's `.nodeflow`, absolute and without symbolic links. See `of`.
    """

    folder: Path

    @classmethod
    def of(cls, folder: Path) -> ServerPaths:
        """The paths for a folder that may be relative, be a link, or not exist yet."""
        return cls(Path(folder).resolve())

    @property
    def home(self) -> Path:
        """The folder of the server's data, locks and log."""
        return self.folder / "server"

    @property
    def start_lock(self) -> Path:
        """Held by whoever starts or stops the server, for that moment."""
        return self.home / "start.lock"

    @property
    def watch_lock(self) -> Path:
        """Held by the watchdog for life; holds its process id."""
        return self.home / "watch.lock"

    @property
    def data_lock(self) -> Path:
        """Held by the server itself for life; holds its process id."""
        return self.home / "data.lock"

    @property
    def log(self) -> Path:
        """What the watchdog and the server say."""
        return self.home / "server.log"

    @property
    def socket(self) -> Path:
        """The server's unix socket: in `home`, or under /tmp where that path is too long for the system."""
        path = self.home / "valkey.sock"
        if len(os.fsencode(path)) <= SOCKET_PATH_BYTES:
            return path
        digest = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]
        return Path("/tmp", f"nodeflow-{os.geteuid()}-{digest}", "valkey.sock")  # noqa: S108 check_folders looks

    @property
    def private_folders(self) -> tuple[Path, ...]:
        """The folders that nobody but the user may open."""
        return tuple(dict.fromkeys((self.home, self.socket.parent)))


def make_folders(paths: ServerPaths) -> None:
    """Create what is missing, each folder with mode 0700, and check all of it.

    Raises:
        EmbeddedServerError: a folder can't be created or isn't safe to use.
    """
    try:
        _make_project_folder(paths.folder)
        _refuse_foreign(paths.folder, paths.folder.stat())
        for folder in paths.private_folders:
            folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise EmbeddedServerError(
            f"can't create the folder of the embedded server: {error}. "
            "Make it possible, or name another folder with NODEFLOW_FOLDER"
        ) from error
    check_folders(paths)


def check_folders(paths: ServerPaths) -> None:
    """Refuse folders in which somebody else could read the data or put a server of their own.

    Raises:
        EmbeddedServerError: a folder isn't ours, isn't a real folder, or is open to others.
    """
    _refuse_foreign(paths.folder, paths.folder.stat())
    for folder in paths.private_folders:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise EmbeddedServerError(f"{folder} must be a real folder, not a link or a file: remove it")
        _refuse_foreign(folder, found)
        if stat.S_IMODE(found.st_mode) != 0o700:
            raise EmbeddedServerError(
                f"{folder} has mode {stat.S_IMODE(found.st_mode):04o}, so that others might get at the server: "
                f"look who has put what there, then `chmod 700 {folder}`"
            )


def _make_project_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        return
    (folder / ".gitignore").write_text("*\n")


def _refuse_foreign(folder: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise EmbeddedServerError(
            f"{folder} belongs to another user (uid {found.st_uid}, you are {os.geteuid()}): "
            "work as that user, or name a folder of your own with NODEFLOW_FOLDER"
        )
