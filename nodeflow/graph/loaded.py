"""Definitions as they are loaded: by their syntax on disk while that is what was loaded, else by their code."""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import CellType, FunctionType, MethodType, ModuleType

from nodeflow.graph.contents import isa, stable_text
from nodeflow.graph.source import Definition, Source, code_text, digest
from nodeflow.graph.uses import code_uses, inner_codes

# a literal of these types gives a value that stays as it is
_FIXED = (type(None), bool, int, float, complex, str, bytes)


def definition_of(value: object, name: str, source: Source | None, statements: Sequence[ast.stmt] = ()) -> Definition:
    """Give the definition of a value.

    Args:
        value: a function, a class, or what a global is bound to.
        name: the qualified name of the function or class, or the global.
        source: where it was defined, as it is now.
        statements: those that bind the global.

    Returns:
        The one in the source when its functions are the loaded ones; else one whose digest begins with `loaded:`.
        What ran once at the import and shows in no code counts by its value, too, as the source may be newer.
    """
    functions = functions_in(value, name)
    ran = _defaults(functions) + (_members(value) if isa(value, type) else [])
    if source and (nodes := _on_disk(value, functions, source, statements)):
        ran += [stable_text(value)] if _is_literal(statements) and name not in source.rebound else []
        found = source.define(nodes)
        return Definition(digest(" ".join([found.digest, *ran])), found.uses)
    parts = [code_text(each.__code__) for each in functions] or [stable_text(value)]
    codes = [code for each in functions for code in (each.__code__, *inner_codes(each.__code__))]
    uses = frozenset(use for code in codes for use in code_uses(code))
    return Definition(f"loaded:{digest(' '.join(parts + ran))}", uses)


def functions_in(value: object, name: str) -> list[FunctionType]:
    """Give the functions in a value, decorated ones and methods included, that the definition of `name` made."""
    found = []
    pending: deque[tuple[object, int]] = deque([(value, 0)])
    seen: dict[int, object] = {}
    while pending:
        item, depth = pending.popleft()
        if id(item) in seen:
            continue
        seen[id(item)] = item
        if isa(item, FunctionType) and f"{item.__code__.co_qualname}.".startswith((f"{name}.", "<lambda>.")):
            found.append(item)
        if depth < 3 and (depth == 0 or not isa(item, type)):
            with suppress(Exception):
                pending.extend((child, depth + 1) for child in _inside(item))
    return found


def _inside(item: object) -> Iterable[object]:
    if isa(item, FunctionType):
        return [*item.__dict__.values(), *(cell.cell_contents for cell in item.__closure__ or () if cell != CellType())]
    if isa(item, property):
        return [item.fget, item.fset, item.fdel]
    if issubclass(type(item), (MethodType, staticmethod, classmethod)):
        return [getattr(item, "__func__", None)]
    return [] if isa(item, ModuleType) else list(vars(item).values())


def _on_disk(
    value: object, functions: list[FunctionType], source: Source, statements: Sequence[ast.stmt]
) -> Sequence[ast.AST]:
    """Find the syntax trees of a definition; none when one of its functions was edited since it was loaded."""
    here = [function for function in functions if function.__code__.co_filename == source.filename]
    found = [source.function(function.__code__) for function in here]
    if not all(found):
        return []
    if statements:
        return statements
    return source.classes(value.__qualname__) if isa(value, type) else next(iter(found), [])


def _defaults(functions: list[FunctionType]) -> list[str]:
    texts = []
    for each in functions:
        values = [*(each.__defaults__ or ()), *(each.__kwdefaults__ or {}).values()]
        texts.append(f"{each.__code__.co_name}({','.join(map(stable_text, values))})")
    return texts


def _members(kind: type) -> list[str]:
    members = sorted((name, value) for name, value in vars(kind).items() if type(value) in _FIXED)
    return [f"{name}={value!r}" for name, value in members if not name.startswith("_")]


def _is_literal(statements: Sequence[ast.stmt]) -> bool:
    # what is called can give another value in each process, as `time.time()` does
    value = getattr(statements[0], "value", None) if len(statements) == 1 else None
    return isinstance(value, ast.expr) and not any(isinstance(each, ast.Name | ast.Call) for each in ast.walk(value))
