"""Names of a package that are imported when they are first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping


def from_modules(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """What a package needs as its `__getattr__`.

    Args:
        package: its name.
        homes: the names that it has, each with the module below it where it is defined.
    """

    def found(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return found
