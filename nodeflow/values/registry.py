"""The types that a payload may name: those of `kinds`, the classes of a graph's modules, and what users register."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field

from nodeflow.values.classes import Form, form_of
from nodeflow.values.extras import kinds_of, package_of
from nodeflow.values.kinds import STANDARD, Kind

T = TypeVar("T")

_MAIN = ("__main__", "__mp_main__")


@define(eq=False)
class Registry:
    """Types by the name that stands for them in a payload, and the other way round.

    A name is only looked up here: reading a payload never imports a module and never takes an attribute of one.
    """

    _kinds: dict[type, Kind] = field(factory=lambda: dict(STANDARD))
    _kind_names: dict[str, Kind] = field(factory=lambda: {kind.name: kind for kind in STANDARD.values()})
    _names: dict[type, str] = field(factory=dict)
    _classes: dict[str, type] = field(factory=dict)
    _forms: dict[type, Form] = field(factory=dict)
    _namespaces: dict[str, Mapping[str, Any]] = field(factory=dict)
    _extras: set[str] = field(factory=set)

    def register(
        self,
        kind: type[T],
        name: str | None = None,
        encode: Callable[[T], Any] | None = None,
        decode: Callable[[Any], T] | None = None,
    ) -> type[T]:
        """Let values of a type be kept and sent.

        Enums, named tuples, and the classes of attrs, dataclasses and pydantic need neither a name nor functions.

        Args:
            kind: the type; a subclass is another one.
            name: what stands for it in payloads, without a colon; `module:qualified name` when it is left out.
            encode: gives a value of other kinds that says all about the given one.
            decode: gives a value back from what `encode` gave.

        Returns:
            the type, so that `register` may stand as a decorator over a class.

        Raises:
            TypeError: it needs `encode` and `decode`, or only one of them was given.
            ValueError: another type has the name.
        """
        if (encode is None) != (decode is None):
            raise TypeError(f"register {kind.__qualname__} with both encode and decode, or with neither")
        if encode is None or decode is None:
            form = form_of(kind)
            if form is None:
                raise TypeError(
                    f"{kind.__qualname__} is no enum, named tuple, attrs class, dataclass or pydantic model: "
                    "give encode= and decode="
                )
            name = name or _name_of(kind)
            if self._classes.get(name, kind) is not kind and not _is_older(self._classes[name], kind):
                raise ValueError(f"{name!r} is another type's name: give another one")
            self._add(kind, name, form)
            return kind
        name = name or _name_of(kind)
        found = self._kind_names.get(name)
        if name in self._classes or (found is not None and self._kinds.get(kind) is not found):
            raise ValueError(f"{name!r} is another type's name: give another one")
        self._kinds[kind] = self._kind_names[name] = Kind(name, encode, decode)
        return kind

    def add(self, kind: type, known: Kind) -> None:
        """Add one of nodeflow's own types."""
        self._kinds[kind] = self._kind_names[known.name] = known

    def declare(self, module: str, namespace: Mapping[str, Any]) -> None:
        """Let the classes in a module's namespace be kept and sent, those that it gets later included.

        Args:
            module: its name; for a script the one under which other processes import it.
            namespace: its globals.
        """
        self._namespaces[module] = namespace
        self._look_into(module, namespace)

    def kind_of(self, kind: type) -> Kind | None:
        """How values of a type are written, when it is none of a user's classes."""
        if kind not in self._kinds:
            self._add_extras(package_of(kind.__module__))
        return self._kinds.get(kind)

    def kind_named(self, name: str) -> Kind | None:
        """The kind of this name."""
        if name not in self._kind_names:
            self._add_extras(package_of(name))
        return self._kind_names.get(name)

    def form_of(self, cls: type) -> tuple[str, Form] | None:
        """The name of a class and how its instances are written; None when it isn't declared."""
        if cls not in self._names:
            self._look_again()
        name = self._names.get(cls)
        return (name, self._forms[cls]) if name is not None else None

    def form_named(self, name: str) -> Form | None:
        """How the instances of the class of this name are written; None when there is none."""
        if name not in self._classes:
            self._look_again()
        cls = self._classes.get(name)
        return None if cls is None else self._forms[cls]

    def _add_extras(self, package: str) -> None:
        """Add the types of a package that need not be installed; what a user registered stays."""
        if package and package not in self._extras:
            for kind, known in kinds_of(package).items():
                self._kinds.setdefault(kind, known)
                self._kind_names.setdefault(known.name, known)
            self._extras.add(package)

    def _look_again(self) -> None:
        for module, namespace in self._namespaces.items():
            self._look_into(module, namespace)

    def _look_into(self, module: str, namespace: Mapping[str, Any]) -> None:
        for value in list(namespace.values()):
            if isinstance(value, type):
                self._take_in(module, value)

    def _take_in(self, module: str, cls: type) -> None:
        """Add a class and those that are defined in it."""
        if cls in self._names or cls in self._kinds or "<locals>" in cls.__qualname__:
            return
        form = form_of(cls)
        if form is not None:
            home = module if cls.__module__ in _MAIN else cls.__module__
            self._add(cls, f"{home}:{cls.__qualname__}", form)
        for inner in list(vars(cls).values()):
            if isinstance(inner, type) and inner.__qualname__ == f"{cls.__qualname__}.{inner.__name__}":
                self._take_in(module, inner)

    def _add(self, cls: type, name: str, form: Form) -> None:
        self._names[cls], self._forms[cls], self._classes[name] = name, form, cls


def _name_of(cls: type) -> str:
    module = cls.__module__
    if module in _MAIN:
        file = getattr(sys.modules.get(module), "__file__", None)
        module = Path(file).stem if file else module
    return f"{module}:{cls.__qualname__}"


def _is_older(cls: type, new: type) -> bool:
    """Whether a class is what the new one was before its module, or a cell of a notebook, was run again."""
    is_local = "<locals>" in new.__qualname__
    return not is_local and (cls.__module__, cls.__qualname__) == (new.__module__, new.__qualname__)


TYPES = Registry()
"""What `encode` and `decode` know."""
