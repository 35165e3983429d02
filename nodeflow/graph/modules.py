"""Modules: their names, which of them are the user's own, and how code finds them."""

from __future__ import annotations

import functools
import importlib.util
import site
import sys
import sysconfig
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

_OUR_PACKAGES = ("nodeflow", "nodes", "postprocess")


def module_name(namespace: Mapping[str, Any]) -> str:
    """Give a module's name; for a script its file's stem, under which other processes import it."""
    name, file = str(namespace.get("__name__")), namespace.get("__file__")
    return Path(file).stem if name in ("__main__", "__mp_main__") and isinstance(file, str) else name


def is_own(namespace: Mapping[str, Any]) -> bool:
    """Say whether a module is the user's own: one from a file that isn't installed, a script or a notebook."""
    file = namespace.get("__file__")
    return not _is_installed(file) if isinstance(file, str) else namespace.get("__name__") == "__main__"


def is_users(filename: str) -> bool:
    """Whether code of this file is the user's: neither nodeflow's, nor installed, nor Python's."""
    return not filename.startswith("<frozen ") and not _is_installed(filename)


def find_module(name: str, namespace: Mapping[str, Any], load: bool = False) -> ModuleType | None:
    """Find a module by its name as an import in `namespace` writes it.

    Args:
        name: with leading dots when the import is relative.
        namespace: the globals of the module that imports it.
        load: import it when it is one of the user's own and isn't loaded yet.
    """
    with suppress(Exception, SystemExit):
        package = namespace.get("__package__") or str(namespace.get("__name__")).rpartition(".")[0]
        absolute = importlib.util.resolve_name(name, package)
        if load and absolute not in sys.modules:
            spec = importlib.util.find_spec(absolute.partition(".")[0])
            if spec and is_own({"__file__": spec.origin or "."}):
                importlib.import_module(absolute)
        return sys.modules.get(absolute)
    return None


@functools.lru_cache(maxsize=4096)
def _is_installed(filename: str) -> bool:
    path = Path(filename).resolve()
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    home = Path(__file__).parents[2]
    folders = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders += [site.getusersitepackages(), *(str(home / package) for package in _OUR_PACKAGES)]
    return any(path.is_relative_to(Path(folder).resolve()) for folder in folders)
