"""The types of packages that need not be installed: which there are, and where they are written and read."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from nodeflow.values.kinds import Kind

_HOMES = {"numpy": "arrays", "pandas": "pandas_tables", "polars": "polars_tables", "pyarrow": "arrow_tables"}


def package_of(name: str) -> str:
    """The package that a type's name in a payload, or its module's, begins with; empty when it is none of these."""
    package = name.partition(".")[0]
    return package if package in _HOMES else ""


def kinds_of(package: str) -> Mapping[type, Kind]:
    """How the types of a package are written.

    Raises:
        ValueError: the package, or what is needed to write its types, isn't installed.
    """
    try:
        return import_module(f"nodeflow.values.extras.{_HOMES[package]}").kinds()  # type: ignore[no-any-return]
    except ImportError as error:
        raise ValueError(f"{error.name} isn't installed: pip install 'nodeflow[{package}]'") from error
