"""What a node depends on, as digests: its code, the user's own code that it uses, and its configuration.

What counts is the code that is loaded. A definition's digest is over its syntax tree on disk, so that
comments, formatting and docstrings don't count; when the file was edited since it was imported, it is over
the loaded code or value instead, and begins with `loaded:`.
"""

from __future__ import annotations

import ast
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import importlib.util
import inspect
import linecache
import operator
import re
import site
import sys
import sysconfig
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePath
from types import BuiltinFunctionType, CellType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any, TypeGuard, TypeVar

import attrs

from nodeflow.graph.source import Definition, Source, Sources, Use, code_text, code_uses, digest

T = TypeVar("T")

_OUR_PACKAGES = frozenset({"nodeflow", "nodes", "postprocess"})
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...))
_BY_REPR = (datetime.timedelta, decimal.Decimal, fractions.Fraction, uuid.UUID, range, re.Pattern)
_IMMUTABLE = (*_PLAIN, *_BY_REPR, tuple, frozenset, PurePath, enum.Enum, datetime.date, datetime.time)
_REFERENCES = (FunctionType, BuiltinFunctionType, type, ModuleType)
_IMPORTED_AT = time.time()
_SOURCES = Sources()
# what a definition was when it was first seen, and the objects that say that it is still the loaded one
_SEEN: dict[tuple[str, str], tuple[tuple[object, ...], Definition]] = {}


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
    attributes = closure.start(target)
    digests = {"configuration": digest(closure.contents([attributes, dict(configuration)]))}
    return dict(sorted({**closure.digests(), **digests}.items()))


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

    def start(self, target: object) -> object:
        """Begin with the node itself; gives the attributes that configure it."""
        if _isa(target, functools.partial):
            return [self.start(target.func), target.args, target.keywords]
        if _isa(target, MethodType):
            self.follow(target.__func__, root=True)
            return self.start(target.__self__)
        wrapped = inspect.getattr_static(target, "__wrapped__", None)
        if _isa(target, FunctionType):
            self.function(target, root=wrapped is None)
        elif _isa(target, _REFERENCES):
            self.follow(target, root=True)
        elif wrapped is None:
            self.follow(type(target), root=True)
            return _attributes(target)
        return self.start(wrapped) if wrapped is not None and self._first(("start", id(target)), target) else None

    def digests(self) -> dict[str, str]:
        """Follow all that is to be followed, and give a digest for each key."""
        while self._pending:
            self._pending.pop()()
        one = {key: next(iter(found)) for key, found in self._found.items()}
        return {
            key: one[key] if len(found) == 1 else digest(",".join(sorted(found))) for key, found in self._found.items()
        }

    def follow(self, value: object, root: bool = False) -> None:
        """Take in what a value refers to: a function, a class, or all of a module."""
        if _isa(value, FunctionType):
            self._pending.append(lambda: self.function(value, root))
        elif _isa(value, type):
            self._pending.append(lambda: self.class_(value, root))
        elif _isa(value, ModuleType):
            self._pending.append(lambda: self.attribute(value, ()))
        elif root:
            self._found[_label(value)].add(digest(_label(value)))

    def contents(self, value: object) -> str:
        """Write a value as text, and follow the definitions in it."""
        contents = _Contents()
        text = contents.text(value)
        for reference in contents.references:
            self.follow(reference)
        return text

    def function(self, function: FunctionType, root: bool = False) -> None:
        """Take in a function, what it wraps, its free variables and the names that it loads."""
        if not self._first((id(function), root), function):
            return
        self.contents(function.__dict__.get("__wrapped__"))
        namespace, code = function.__globals__, function.__code__
        key = f"{namespace.get('__name__')}.{code.co_qualname}"
        own = root or _is_own(namespace, code.co_filename)
        if own:
            self._add(key, _remembered(key, function, namespace, code.co_filename), namespace)
            if "<" in code.co_qualname and (function.__defaults__ or function.__kwdefaults__):
                self._found[f"{key}.defaults"].add(digest(self.contents(_defaults(function))))
        self._cells(key, function, own)

    def class_(self, kind: type, root: bool = False) -> None:
        """Take in a class, its bases and its metaclass."""
        if not self._first((id(kind), root), kind):
            return
        functions = list(_functions(kind, kind.__qualname__))
        module = sys.modules.get(kind.__module__)
        namespace = functions[0].__globals__ if functions else vars(module) if module else {}
        filename = functions[0].__code__.co_filename if functions else str(namespace.get("__file__", ""))
        for parent in (*kind.__mro__[1:], type(kind)):
            self.follow(parent)
        if root or _is_own(namespace, filename):
            key = _label(kind)
            self._add(key, _remembered(key, kind, namespace, filename), namespace)
            for function in functions:
                self._cells(f"{key}.{function.__name__}", function, own=True)

    def use(self, use: Use, namespace: dict[str, Any]) -> None:
        """Take in what a dotted name stands for in a module."""
        value = _module(use.root, namespace, load=True) if use.imported else namespace.get(use.root)
        if _isa(value, ModuleType):
            self.attribute(value, use.attributes)
        elif not use.imported and use.root in namespace:
            self.binding(namespace, use.root)

    def attribute(self, module: ModuleType, names: tuple[str, ...]) -> None:
        """Take in what a dotted name stands for behind a module, or all of the module."""
        namespace = vars(module)
        filename = namespace.get("__file__")
        if filename and not _is_own(namespace, filename):
            return
        if names:
            value = namespace.get(names[0])
            if names[0] not in namespace and "__path__" in namespace:
                value = _module(f"{module.__name__}.{names[0]}", namespace, load=True)
            if _isa(value, ModuleType):
                self.attribute(value, names[1:])
            elif names[0] in namespace:
                self.binding(namespace, names[0])
        elif filename and (source := _SOURCES.read(filename, namespace)):
            self._found[module.__name__].add(source.define(source.tree).digest)

    def binding(self, namespace: dict[str, Any], name: str) -> None:
        """Take in a module's global by the statements that bind it, or else by its value."""
        filename = namespace.get("__file__")
        if not self._first((id(namespace), name), namespace) or not _is_own(namespace, filename):
            return
        source = _SOURCES.read(filename, namespace) if filename else None
        statements = source.bindings.get(name, []) if source else []
        imports = [each for each in statements if isinstance(each, ast.Import | ast.ImportFrom)]
        if len(imports) < len(statements):
            key = f"{namespace.get('__name__')}.{name}"
            self._add(key, _remembered(key, namespace[name], namespace, str(filename), name), namespace)
        froms = [each for each in imports if isinstance(each, ast.ImportFrom)]
        known = any(self._imported(each, name, namespace) for each in froms)
        if not known and len(imports) == len(statements) and not name.startswith("__"):
            stars = source.star_imports if source else []
            if not any(self._imported(star, name, namespace) for star in stars):
                self._value(f"{namespace.get('__name__')}.{name}", namespace[name])

    def _imported(self, statement: ast.ImportFrom, name: str, namespace: dict[str, Any]) -> bool:
        module = _module("." * statement.level + (statement.module or ""), namespace)
        originals = [alias.name for alias in statement.names if name in (alias.asname, alias.name)]
        original = (originals or [name])[0]
        # after a reload the module may have another object than the one that was imported from it
        if module is None or vars(module).get(original, self) is not namespace[name]:
            return False
        self.attribute(module, (original,))
        return True

    def _value(self, key: str, value: object) -> None:
        text = self.contents(value)
        if not _isa(value, _REFERENCES):
            self._found[key].add(digest(text))

    def _cells(self, key: str, function: FunctionType, own: bool) -> None:
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
            with suppress(ValueError):  # a cell that is still empty
                value = cell.cell_contents
                text = self.contents(value)
                if own and not _isa(value, _REFERENCES):
                    # what can change while the node runs counts by its type
                    text = text if _isa(value, _IMMUTABLE) else _label(type(value))
                    self._found[f"{key}.{name}"].add(digest(text))

    def _add(self, key: str, definition: Definition, namespace: dict[str, Any]) -> None:
        self._found[key].add(definition.digest)
        self._pending.extend(functools.partial(self.use, use, namespace) for use in definition.uses)

    def _first(self, key: tuple[object, ...], kept_alive: object) -> bool:
        # the object is kept, as the id of one that is gone may be given to another
        before = len(self._done)
        self._done.setdefault(key, kept_alive)
        return len(self._done) > before


def _remembered(
    key: str, value: object, namespace: dict[str, Any], filename: str, name: str | None = None
) -> Definition:
    """Give the definition of a value, as it was when this very value was first seen."""
    functions = list(_functions(value, name or key.removeprefix(f"{namespace.get('__name__')}.")))
    witness: list[object] = [value, namespace]
    for function in functions:
        witness += [function.__code__, function.__defaults__, function.__kwdefaults__]
    if _isa(value, type):
        witness += [each for each in vars(value).values() if _isa(each, _IMMUTABLE)]
    seen = _SEEN.get((filename, key))
    if seen and len(seen[0]) == len(witness) and all(map(operator.is_, seen[0], witness)):
        return seen[1]
    source = _SOURCES.read(filename, namespace)
    definition = (source and _on_disk(value, functions, source, name)) or _loaded(value, functions)
    _SEEN[filename, key] = tuple(witness), definition
    return definition


def _on_disk(value: object, functions: list[FunctionType], source: Source, name: str | None) -> Definition | None:
    """Give the definition in the source, or None when the source isn't what is loaded."""
    here = [each for each in functions if each.__code__.co_filename == source.filename]
    found = [source.find_function(each.__code__) for each in here]
    candidates: list[list[ast.AST]] = [[node] for node in found if node]
    edited = source.modified > _IMPORTED_AT and name not in source.rebound
    if name:
        candidates = [list(source.bindings[name])]
    elif _isa(value, type):
        candidates = [[node] for node in source.find_classes(value.__qualname__)]
    if None in found:
        return None
    for nodes in candidates:
        if all(_agrees(node, value, edited and len(nodes) == 1) for node in nodes):
            return source.define(*nodes)
    return None


def _agrees(node: ast.AST, value: object, edited: bool) -> bool:
    # code was compared already; what remains are methods that came or went, and literals
    if isinstance(node, ast.ClassDef) and _isa(value, type):
        plain = [each for each in node.body if isinstance(each, ast.FunctionDef) and not each.decorator_list]
        names = {_mangled(each.name, node.name) for each in plain}
        if not names <= vars(value).keys():
            return False
    pairs = _literals(node, value) if edited else []
    return all(_Contents().text(literal) == _Contents().text(loaded) for literal, loaded in pairs)


def _mangled(name: str, kind: str) -> str:
    private = name.startswith("__") and not name.endswith("__")
    return f"_{kind.lstrip('_')}{name}" if private else name


def _literals(node: ast.AST, value: object) -> Iterator[tuple[object, object]]:
    """Give pairs of a literal in the source and the loaded value that came from it."""
    pairs: list[tuple[ast.expr | None, object]] = []
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        pairs = [(node.value, value)] if all(isinstance(each, ast.Name) for each in targets) else []
    elif isinstance(node, ast.ClassDef):
        members = {
            each.id: child.value
            for child in node.body
            if isinstance(child, ast.Assign | ast.AnnAssign)
            for each in ast.walk(child)
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
        }
        pairs = [(expression, vars(value)[name]) for name, expression in members.items() if name in vars(value)]
    elif _isa(value, FunctionType) and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        pairs = list(zip(reversed(node.args.defaults), reversed(value.__defaults__ or ()), strict=False))
        keywords = value.__kwdefaults__ or {}
        pairs += [
            (default, keywords.get(each.arg))
            for each, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        ]
    for expression, loaded in pairs:
        with suppress(ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            if expression is not None and not _isa(loaded, MemberDescriptorType):
                yield (
                    ast.literal_eval(expression),
                    getattr(loaded, "value", loaded) if _isa(loaded, enum.Enum) else loaded,
                )


def _loaded(value: object, functions: list[FunctionType]) -> Definition:
    contents = _Contents()
    parts = [code_text(each.__code__) + contents.text(_defaults(each)) for each in functions]
    if _isa(value, type):
        parts += [_label(base) for base in value.__bases__]
        members = sorted(vars(value).items())
        parts += [
            f"{name}={contents.text(each)}"
            for name, each in members
            if _isa(each, _IMMUTABLE) and not name.startswith("__")
        ]
    elif not functions:
        parts.append(contents.text(value))
    uses = frozenset(use for each in functions for use in code_uses(each.__code__))
    return Definition(f"loaded:{digest(' '.join(parts))}", uses)


def _defaults(function: FunctionType) -> list[object]:
    return [function.__defaults__, function.__kwdefaults__]


def _functions(value: object, name: str) -> Iterator[FunctionType]:
    """Give the functions in a value, wrapped ones included, that the definition of `name` made."""
    pending: deque[tuple[object, int]] = deque([(value, 0)])
    seen: dict[int, object] = {}
    while pending:
        item, depth = pending.popleft()
        if id(item) in seen:
            continue
        seen[id(item)] = item
        if _isa(item, FunctionType):
            qualname = item.__code__.co_qualname
            if qualname in (name, "<lambda>") or qualname.startswith(f"{name}."):
                yield item
        if depth < 3 and (depth == 0 or not _isa(item, type)):
            with suppress(Exception):
                pending.extend((child, depth + 1) for child in _inside(item))


def _inside(item: object) -> Iterable[object]:
    if _isa(item, ModuleType):
        return []
    if _isa(item, functools.partial):
        return [item.func, *item.args]
    if _isa(item, property):
        return [item.fget, item.fset, item.fdel]
    if _isa(item, FunctionType):
        cells = [cell.cell_contents for cell in item.__closure__ or () if cell != CellType()]
        return [*item.__dict__.values(), *cells]
    if issubclass(type(item), (MethodType, staticmethod, classmethod)):
        return [getattr(item, "__func__", None)]
    return list(vars(item).values())


def _attributes(value: object) -> dict[str, object]:
    """Give what configures an instance: the fields that its `__init__` takes, else all attributes."""
    kind = type(value)
    names: list[str]
    if attrs.has(kind):
        names = [field.name for field in attrs.fields(kind) if field.init]
    elif dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind) if field.init]
    else:
        slots = [vars(each).get("__slots__", ()) for each in kind.__mro__]
        names = [name for each in slots for name in ([each] if isinstance(each, str) else each)]
        with suppress(Exception):
            names += list(vars(value))
    found = {}
    for name in names:
        with suppress(Exception):
            found[name] = getattr(value, name)
    return found


def _isa(value: object, kinds: type[T] | tuple[type[T], ...]) -> TypeGuard[T]:
    # isinstance believes an object's `__class__`, and a mock's or a proxy's is not its own
    return issubclass(type(value), kinds)


def _label(value: object) -> str:
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", "")
    return f"{getattr(value, '__module__', '')}.{name}"


class _Contents:
    """Writes values as text that is equal in every process, and notes the definitions in them."""

    def __init__(self) -> None:
        self.references: list[object] = []
        self._around: set[int] = set()

    def text(self, value: object) -> str:
        """Write a value; one that can't be read, or of an unknown kind, counts by its type."""
        if id(value) in self._around:
            return "<around>"
        self._around.add(id(value))
        try:
            return self._text(value)
        except Exception:
            return _label(type(value))
        finally:
            self._around.discard(id(value))

    def _text(self, value: Any) -> str:
        kind = type(value)
        if kind in _PLAIN:
            return repr(value)
        if issubclass(kind, _REFERENCES):
            self.references.append(value)
            return f"<{_label(value)}>"
        if issubclass(kind, PurePath):
            return f"Path({value.as_posix()!r})"
        if kind.__module__ != "builtins":
            self.references.append(kind)
        return f"{_label(kind)}({self._parts(value)})"

    def _parts(self, value: Any) -> str:
        kind = type(value)
        if issubclass(kind, enum.Enum):
            return f"{value._name_}={self.text(value._value_)}"
        if issubclass(kind, functools.partial):
            return self.text([value.func, value.args, value.keywords])
        if issubclass(kind, MethodType):
            return self.text([value.__func__, value.__self__])
        if issubclass(kind, Mapping):
            return ",".join(sorted(f"{self.text(key)}:{self.text(value[key])}" for key in value))
        if issubclass(kind, set | frozenset):
            return ",".join(sorted(map(self.text, value)))
        if issubclass(kind, list | tuple | deque):
            return ",".join(map(self.text, value))
        if attrs.has(kind) or dataclasses.is_dataclass(kind):
            return self.text(_attributes(value))
        return _plain_text(value)


def _plain_text(value: Any) -> str:
    if issubclass(type(value), datetime.date | datetime.time):
        return str(value.isoformat())
    if _isa(value, _BY_REPR):
        return repr(value)
    for base in (int, float, complex, str, bytes, bytearray):
        if _isa(value, base):
            return base.__repr__(value)
    return ""


def _is_own(namespace: Mapping[str, Any], filename: str | None) -> bool:
    """Say whether a module is the user's own."""
    name = str(namespace.get("__name__"))
    top = name.partition(".")[0]
    if top in _OUR_PACKAGES:
        return False
    if isinstance(file := namespace.get("__file__"), str):
        return not _is_installed(file)
    if name == "__main__" or top in sys.stdlib_module_names:
        return name == "__main__"
    return bool(filename and linecache.getlines(filename))  # a notebook's cell


@functools.cache
def _is_installed(filename: str) -> bool:
    path = Path(filename).resolve()
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    folders = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return any(path.is_relative_to(Path(folder).resolve()) for folder in [*folders, site.getusersitepackages()])


def _module(name: str, namespace: Mapping[str, Any], load: bool = False) -> ModuleType | None:
    """Find a module by its name as an import in `namespace` writes it; `load` imports a user's own."""
    with suppress(Exception, SystemExit):
        package = namespace.get("__package__") or str(namespace.get("__name__")).rpartition(".")[0]
        absolute = importlib.util.resolve_name(name, package)
        if load and absolute not in sys.modules:
            spec = importlib.util.find_spec(absolute.partition(".")[0])
            if spec and _is_own({"__name__": spec.name, "__file__": spec.origin or "."}, None):
                importlib.import_module(absolute)
        return sys.modules.get(absolute)
    return None
