"""What a node depends on, as digests: its code, the user's own code that it uses, and its configuration.

What counts is the code that is loaded. A definition's digest is over its syntax tree on disk, so that
comments, formatting and docstrings don't count; when it was edited since it was imported, it is over the
loaded code instead, and begins with `loaded:`.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FunctionType, MethodType, ModuleType
from typing import Any

from nodeflow.graph.contents import REFERENCES, Contents, attributes, isa, label, stable_text
from nodeflow.graph.loaded import definition_of, functions_in
from nodeflow.graph.modules import find_module, is_own, module_name
from nodeflow.graph.source import Definition, Source, digest, read
from nodeflow.graph.uses import Use


def fingerprint(target: Callable[..., Any] | object, configuration: Mapping[str, Any] = {}) -> dict[str, str]:
    """Say what a node depends on, and a digest of each.

    The digests are equal in every process and, for code that is unchanged on disk, in Python 3.11 to 3.13.
    A module that a function of the user's own imports only when it is called is imported here.

    Args:
        target: a function, or an instance of a class; its attributes are then configuration, too
            (those that its `__init__` takes, for attrs classes and dataclasses).
        configuration: what else its results depend on, such as the constants of its ports.

    Returns:
        By `module.qualname`, and for all of the configuration by `configuration`, a digest.
    """
    closure = _Closure()
    closure.configuration([closure.start(target), dict(configuration)])
    return closure.digests()


def changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Give the reasons why two fingerprints differ.

    Args:
        old: the fingerprint that was kept.
        new: the fingerprint now.

    Returns:
        Sentences as `helpers.clean changed`, sorted; none when the fingerprints are equal.
    """
    changed = [f"{key} changed" for key in old.keys() & new.keys() if old[key] != new[key]]
    added = [f"{key} is new" for key in new.keys() - old.keys()]
    removed = [f"{key} is no longer used" for key in old.keys() - new.keys()]
    return sorted(changed + added + removed)


class _Closure:
    """Collects definitions, beginning with a node's, as far as they lie in the user's own modules."""

    def __init__(self) -> None:
        self._found: dict[str, set[str]] = defaultdict(set)
        self._pending: list[Callable[[], None]] = []
        self._done: dict[tuple[object, ...], object] = {}
        self._sources: dict[str, Source | None] = {}

    def start(self, target: object) -> object:
        """Begin with the node itself; gives the attributes that configure it."""
        if not self._first(("start", id(target)), target):
            return None
        if isa(target, functools.partial):
            return [self.start(target.func), target.args, target.keywords]
        if isa(target, MethodType):
            self._follow(target.__func__, root=True)
            return self.start(target.__self__)
        wrapped = inspect.getattr_static(target, "__wrapped__", None)
        if isa(target, REFERENCES):
            self._follow(target, root=wrapped is None)
        elif wrapped is None:
            self._follow(type(target), root=True)
            return attributes(target)
        return None if wrapped is None else self.start(wrapped)

    def configuration(self, value: object) -> None:
        """Take in the configuration, and the definitions in it."""
        self._found["configuration"].add(digest(self._contents(value)))

    def digests(self) -> dict[str, str]:
        """Follow all that is to be followed, and give a digest for each key."""
        while self._pending:
            self._pending.pop()()
        # several definitions can have one name, as two lambdas in a file
        return {key: "+".join(sorted(found)) for key, found in sorted(self._found.items())}

    def _follow(self, value: object, root: bool = False) -> None:
        """Take in what a value refers to: a function, a class, or all of a module."""
        if isa(value, FunctionType):
            self._pending.append(functools.partial(self._function, value, root))
        elif isa(value, type):
            self._pending.append(functools.partial(self._class, value, root))
        elif isa(value, ModuleType):
            self._pending.append(functools.partial(self._name, vars(value), ()))
        elif root:
            self._found[label(value)].add(digest(label(value)))

    def _contents(self, value: object) -> str:
        """Write a value as text, and follow the definitions in it."""
        contents = Contents()
        text = contents.text(value)
        for reference in contents.references:
            self._follow(reference)
        return text

    def _function(self, function: FunctionType, root: bool) -> None:
        """Take in a function, what it wraps, its free variables and the names that it loads."""
        if not self._first((id(function), root), function):
            return
        self._contents(function.__dict__.get("__wrapped__"))
        namespace, code = function.__globals__, function.__code__
        key = f"{module_name(namespace)}.{code.co_qualname}"
        own = root or is_own(namespace)
        if own:
            source = self._source(code.co_filename, namespace)
            self._add(key, definition_of(function, code.co_qualname, source), namespace)
            self._contents([function.__defaults__, function.__kwdefaults__])
        self._free_variables(key, function, own)

    def _class(self, kind: type, root: bool) -> None:
        """Take in a class, its bases and its metaclass."""
        if not self._first((id(kind), root), kind):
            return
        for parent in (*kind.__mro__[1:], type(kind)):
            self._follow(parent)
        functions = functions_in(kind, kind.__qualname__)
        module = sys.modules.get(kind.__module__)
        namespace = functions[0].__globals__ if functions else vars(module) if module else {}
        if root or is_own(namespace):
            # a class of a notebook has no file; its methods have their cell's
            filename = functions[0].__code__.co_filename if functions else namespace.get("__file__")
            key = label(kind)
            definition = definition_of(kind, kind.__qualname__, self._source(filename, namespace))
            self._add(key, definition, namespace)
            for function in functions:
                self._free_variables(f"{key}.{function.__name__}", function, own=True)

    def _use(self, use: Use, namespace: dict[str, Any]) -> None:
        """Take in what a dotted name stands for in a module."""
        if not use.imported:
            self._name(namespace, (use.root, *use.attributes))
        elif module := find_module(use.root, namespace, load=True):
            self._name(vars(module), use.attributes)

    def _name(self, namespace: dict[str, Any], names: tuple[str, ...]) -> None:
        """Take in what a dotted name stands for behind a module, or all that the module defines."""
        filename = namespace.get("__file__")
        if filename and not is_own(namespace):
            return
        if not names:
            source = self._source(filename, namespace)
            for name in source.bindings if source else ():
                self._binding(namespace, name)
            return
        value = namespace.get(names[0])
        if names[0] not in namespace and "__path__" in namespace:
            value = find_module(f"{namespace['__name__']}.{names[0]}", namespace, load=True)
        if isa(value, ModuleType):
            self._name(vars(value), names[1:])
        else:
            self._binding(namespace, names[0])

    def _binding(self, namespace: dict[str, Any], name: str) -> None:
        """Take in a module's global by the statements that bind it, or else by its value."""
        if name not in namespace or not is_own(namespace) or not self._first((id(namespace), name), namespace):
            return
        key, value = f"{module_name(namespace)}.{name}", namespace[name]
        source = self._source(namespace.get("__file__"), namespace)
        statements = source.bindings.get(name, []) if source else []
        if statements:
            self._add(key, definition_of(value, name, source, statements), namespace)
        origins = source.origins(name) if source else []
        imported = any(self._imported(module, original, value, namespace) for module, original in origins)
        if not statements and not imported and not name.startswith("__"):
            self._value(key, value)

    def _imported(self, module_name: str, original: str, value: object, namespace: dict[str, Any]) -> bool:
        module = find_module(module_name, namespace)
        # after a reload the module may have another object than the one that was imported from it
        if module is None or vars(module).get(original, self) is not value:
            return False
        self._name(vars(module), (original,))
        return True

    def _value(self, key: str, value: object) -> None:
        text = self._contents(value)
        if not isa(value, REFERENCES):
            self._found[key].add(digest(text))

    def _free_variables(self, key: str, function: FunctionType, own: bool) -> None:
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            with suppress(ValueError):  # a cell that is still empty
                value = cell.cell_contents
                self._contents(value)
                if own and not isa(value, REFERENCES):
                    self._found[f"{key}.{name}"].add(digest(stable_text(value)))

    def _add(self, key: str, definition: Definition, namespace: dict[str, Any]) -> None:
        self._found[key].add(definition.digest)
        self._pending.extend(functools.partial(self._use, use, namespace) for use in definition.uses)

    def _source(self, filename: str | None, namespace: dict[str, Any]) -> Source | None:
        if filename and filename not in self._sources:
            self._sources[filename] = read(filename, namespace)
        return self._sources[filename] if filename else None

    def _first(self, key: tuple[object, ...], kept_alive: object) -> bool:
        # the object is kept, as the id of one that is gone may be given to another
        if key in self._done:
            return False
        self._done[key] = kept_alive
        return True
