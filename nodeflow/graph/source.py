"""Source texts: the definitions in them, and digests of these that only a real change changes."""

from __future__ import annotations

import ast
import functools
import hashlib
import linecache
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import CodeType
from typing import Any

import attrs

from nodeflow.graph.uses import Scope, Use, code_uses, inner_codes, tree_uses

_IGNORED_FIELDS = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
_OPTIMIZED, _STAR_ARGUMENTS = 0x1, 0x4 | 0x8


@attrs.frozen
class Definition:
    """A definition's digest and the names that it loads."""

    digest: str
    uses: frozenset[Use]


class Source:
    """A source text, parsed and compiled once, and what it defines.

    Args:
        text: the source; it may hold an encoding declaration.
        filename: the name to compile it under.

    Raises:
        SyntaxError, ValueError: the text isn't Python.
    """

    def __init__(self, text: bytes, filename: str) -> None:
        self.filename = filename
        self.bindings: dict[str, list[ast.stmt]] = defaultdict(list)  # by global, imports left out
        self.rebound: set[str] = set()  # globals that functions assign
        self._imports: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self._scopes: dict[tuple[str, int], list[Scope]] = defaultdict(list)
        self._equal: dict[tuple[str, str], list[CodeType]] = defaultdict(list)
        self._definitions: dict[tuple[int, ...], Definition] = {}
        self._index(ast.parse(text, filename))
        self._codes = list(inner_codes(compile(text, filename, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, True)))
        for code in self._codes:
            self._equal[code.co_qualname, code_text(code)].append(code)

    def origins(self, name: str) -> list[tuple[str, str]]:
        """Give the modules, as written, and their names that `from … import` may have bound a global to."""
        return self._imports.get(name, []) + [(module, name) for module, _ in self._imports.get("*", [])]

    def function(self, loaded: CodeType) -> Sequence[Scope]:
        """Find the definition that a loaded code object comes from; none when it was edited since.

        Lambdas that begin on the same line are one definition.
        """
        equal = self._equal.get((loaded.co_qualname, code_text(loaded)), [])
        nearest = min(equal, key=lambda code: abs(code.co_firstlineno - loaded.co_firstlineno), default=None)
        return self._scopes.get((nearest.co_name, nearest.co_firstlineno), []) if nearest else []

    def classes(self, qualname: str) -> list[ast.ClassDef]:
        """Find the definitions of classes with this qualified name."""
        found = (
            self._scopes.get((code.co_name, code.co_firstlineno), [])
            for code in self._codes
            if code.co_qualname == qualname
        )
        return [scope for scopes in found for scope in scopes if isinstance(scope, ast.ClassDef)]

    def define(self, nodes: Sequence[ast.AST]) -> Definition:
        """Give the digest of a definition or of statements, and the names that they load."""
        key = tuple(map(id, nodes))
        if key not in self._definitions:
            uses = set(tree_uses(nodes))
            lines = {line for node in nodes for line in range(_first_line(node), _last_line(node) + 1)}
            for code in self._codes:
                if code.co_firstlineno in lines:
                    uses.update(code_uses(code))
            self._definitions[key] = Definition(digest(_dump(nodes)), frozenset(uses))
        return self._definitions[key]

    def _index(self, tree: ast.Module) -> None:
        for node in ast.walk(tree):
            if isinstance(node, Scope):
                self._scopes[getattr(node, "name", "<lambda>"), _first_line(node)].append(node)
            elif isinstance(node, ast.Global):
                self.rebound.update(node.names)
        for statement in _module_statements(tree):
            if isinstance(statement, ast.ImportFrom):
                module = "." * statement.level + (statement.module or "")
                for alias in statement.names:
                    self._imports[alias.asname or alias.name].append((module, alias.name))
            for name in _bound_names(statement):
                self.bindings[name].append(statement)


def read(filename: str, namespace: dict[str, Any]) -> Source | None:
    """Give the source that is under this name now, on disk or in a notebook's cell; None when there is none.

    Args:
        filename: a path, or the name of a cell.
        namespace: a module's globals, whose loader may have the source.
    """
    try:
        text = Path(filename).read_bytes()
    except (OSError, ValueError):
        text = "".join(linecache.getlines(filename, namespace)).encode("utf-8", "replace")
    return _parse(text, filename) if text else None


def digest(text: str) -> str:
    """Shorten a text to 16 hexadecimal digits (blake2b with 8 bytes)."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def code_text(code: CodeType) -> str:
    """Write a code object as text: what it does, without positions, file name and what its docstring says."""
    arguments = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _STAR_ARGUMENTS)
    names = (code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    constants = (None, *code.co_consts[1:]) if _has_docstring(code) else code.co_consts
    return f"{arguments}{names}{code.co_code!r}{code.co_exceptiontable!r}{_constant_text(constants)}"


def _has_docstring(code: CodeType) -> bool:
    # up to 3.13 the first constant of every `def` is its docstring or None
    is_def = code.co_flags & _OPTIMIZED and not code.co_name.startswith("<")
    return bool(is_def) and isinstance(next(iter(code.co_consts), None), str)


def _constant_text(value: object) -> str:
    if isinstance(value, CodeType):
        return f"<{code_text(value)}>"
    if isinstance(value, tuple):
        return f"({','.join(map(_constant_text, value))})"
    if isinstance(value, frozenset):
        return f"{{{','.join(sorted(map(_constant_text, value)))}}}"
    return f"{type(value).__name__}:{value!r}"


@functools.lru_cache(maxsize=256)
def _parse(text: bytes, filename: str) -> Source | None:
    try:
        return Source(text, filename)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _dump(nodes: Iterable[ast.AST]) -> str:
    """Write syntax trees as text that is equal for equal code in Python 3.11 to 3.13.

    Positions, empty fields, and statements without an effect (docstrings, `pass`) are left out. It keeps
    its own stack, as a long chain of operators is a deep tree.
    """
    parts: list[str] = []
    pending = list(nodes)
    while pending:
        node = pending.pop()
        parts.append(f"{type(node).__name__}:")
        for name, value in ast.iter_fields(node):
            if name in _IGNORED_FIELDS or value is None or value == []:
                continue
            children = [each for each in (value if isinstance(value, list) else [value]) if not _has_no_effect(each)]
            pending += [child for child in children if isinstance(child, ast.AST)]
            texts = ["*" if isinstance(child, ast.AST) else f"{child!r}" for child in children]
            parts.append(f"{name}=({','.join(texts)})")
    return "\n".join(parts)


def _has_no_effect(node: object) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return isinstance(node, ast.Pass)


def _first_line(node: ast.AST) -> int:
    lines: list[int] = [decorator.lineno for decorator in getattr(node, "decorator_list", [])]
    return min([getattr(node, "lineno", 0), *lines])


def _last_line(node: ast.AST) -> int:
    return int(getattr(node, "end_lineno", 0))


def _module_statements(tree: ast.Module) -> Iterator[ast.stmt]:
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.stmt):
            yield node
        if not isinstance(node, Scope):
            pending.extend(reversed(list(ast.iter_child_nodes(node))))


def _bound_names(statement: ast.stmt) -> set[str]:
    """Give the names that a statement binds or writes into, as in `x = 1`, `x[0] = 1`, `x += 1` and `with … as x`."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    names = set()
    pending = [child for child in ast.iter_child_nodes(statement) if not isinstance(child, ast.stmt)]
    while pending:
        node = pending.pop()
        pending += [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.stmt)]
        written = isinstance(getattr(node, "ctx", None), ast.Store)
        while written and isinstance(node, ast.Subscript | ast.Attribute):
            node = node.value
        if written and isinstance(node, ast.Name):
            names.add(node.id)
    return names
