"""Definitions in a source text: where they are, what they look like, and which names they load.

Everything here is static: it reads texts, syntax trees and code objects and never a live value.
"""

from __future__ import annotations

import ast
import dis
import hashlib
import linecache
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import CodeType
from typing import Any

import attrs

Node = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda

_IGNORED_FIELDS = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
_GLOBAL_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_ATTRIBUTE_LOADS = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_SILENT = frozenset({"CACHE", "PRECALL", "PUSH_NULL", "EXTENDED_ARG"})
_OPTIMIZED, _STAR_ARGUMENTS = 0x1, 0x4 | 0x8
# up to 3.12 a function's first constant is its docstring or None; 3.13 says by a flag that it is a docstring
_DOCSTRING_FLAGS = _OPTIMIZED | (0x4000000 if sys.version_info >= (3, 13) else 0)


def digest(text: str) -> str:
    """Shorten a text to 16 hexadecimal digits (blake2b with 8 bytes)."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


@attrs.frozen
class Use:
    """A dotted name that code loads, as `helpers.clean`.

    Args:
        root: the first name; for an import inside a function the module's name, dots included.
        attributes: the names behind it.
        imported: whether `root` names a module instead of a global of the code's own module.
    """

    root: str
    attributes: tuple[str, ...] = ()
    imported: bool = False

    def then(self, attribute: str) -> Use:
        """Give the same use with one more attribute behind it."""
        return attrs.evolve(self, attributes=(*self.attributes, attribute))


@attrs.frozen
class Definition:
    """A definition's digest and the names that it loads."""

    digest: str
    uses: frozenset[Use]


class _Mark(str):
    """A piece of a dump that is already text."""


def dump(nodes: Iterable[ast.AST]) -> str:
    """Write syntax trees as text that is equal for equal code in Python 3.11 to 3.13.

    Positions, empty fields, and statements without an effect (docstrings, `pass`) are left out. It keeps
    its own stack, as a long chain of operators is a deep tree.
    """
    parts: list[str] = []
    stack: list[object] = [list(nodes)]
    while stack:
        item = stack.pop()
        if isinstance(item, _Mark):
            parts.append(item)
        elif isinstance(item, list):
            kept = [child for child in item if not _has_no_effect(child)]
            stack += [_Mark("]"), *reversed(kept), _Mark("[")]
        elif isinstance(item, ast.AST):
            stack.append(_Mark(")"))
            for name in reversed(item._fields):
                value = getattr(item, name, None)
                if name not in _IGNORED_FIELDS and value is not None and value != []:
                    stack += [value, _Mark(f" {name}=")]
            stack.append(_Mark(f"({type(item).__name__}"))
        else:
            parts.append(f"{type(item).__name__}:{item!r} ")
    return "".join(parts)


def _has_no_effect(node: object) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return isinstance(node, ast.Pass)


def code_text(code: CodeType) -> str:
    """Write a code object as text: what it does, without positions, file name and docstring."""
    constants: tuple[object, ...] = code.co_consts
    if code.co_flags & _DOCSTRING_FLAGS == _DOCSTRING_FLAGS and isinstance(next(iter(constants), None), str):
        constants = (None, *constants[1:])
    shape = (
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_flags & _STAR_ARGUMENTS,
    )
    names = (code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return f"{shape}{names}{code.co_code!r}{code.co_exceptiontable!r}{_constant_text(constants)}"


def _constant_text(value: object) -> str:
    if isinstance(value, CodeType):
        return f"<{code_text(value)}>"
    if isinstance(value, tuple):
        return f"({','.join(map(_constant_text, value))})"
    if isinstance(value, frozenset):
        return f"{{{','.join(sorted(map(_constant_text, value)))}}}"
    return f"{type(value).__name__}:{value!r}"


def code_uses(code: CodeType, outer: Mapping[str, Use] | None = None) -> Iterator[Use]:
    """Give the globals, with the attributes behind them, that a code object and those inside it load.

    `outer` maps the names that imports in the functions around it bind.
    """
    local = dict(outer or {})
    current: Use | None = None
    base = bound = Use("")
    plain = False
    steps = [step for step in dis.get_instructions(code) if step.opname not in _SILENT]
    for index, step in enumerate(steps):
        if step.opname in _ATTRIBUTE_LOADS and current:
            current = current.then(str(step.argval))
            continue
        if current:
            yield current
        if step.opname.startswith("STORE_") and bound.root:
            stored = step.argval[0] if isinstance(step.argval, tuple) else step.argval
            local[str(stored)], bound = bound, Use("")
        current = _started(step, local)
        if step.opname == "IMPORT_NAME":
            level, names = steps[index - 2].argval, steps[index - 1].argval
            plain = not names
            module = str(step.argval)
            base = bound = Use("." * level + (module.partition(".")[0] if plain else module), imported=True)
        elif step.opname == "IMPORT_FROM":
            bound = base.then(str(step.argval))
            base = bound if plain else base
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from code_uses(constant, local)


def _started(step: dis.Instruction, local: Mapping[str, Use]) -> Use | None:
    if step.opname in _GLOBAL_LOADS:
        return local.get(step.argval, Use(step.argval))
    if "LOAD_FAST" in step.opname or step.opname in ("LOAD_DEREF", "LOAD_CLASSDEREF"):
        # 3.13 joins two loads in one instruction: an attribute belongs to the last
        name = step.argval[-1] if isinstance(step.argval, tuple) else step.argval
        return local.get(name)
    return None


def tree_uses(nodes: Iterable[ast.AST]) -> Iterator[Use]:
    """Give the names, with the attributes behind them, that stand in syntax trees."""
    pending = list(nodes)
    while pending:
        node = pending.pop()
        use = _dotted(node)
        if use:
            yield use
        else:
            pending.extend(ast.iter_child_nodes(node))


def _dotted(node: ast.AST) -> Use | None:
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return Use(node.id, tuple(reversed(attributes))) if isinstance(node, ast.Name) else None


def _header(node: Node) -> Iterator[ast.AST]:
    # what is evaluated outside of the definition's own code
    for name in ("decorator_list", "bases", "keywords"):
        yield from getattr(node, name, [])
    for name in ("args", "returns"):
        child = getattr(node, name, None)
        if child is not None:
            yield child


class Source:
    """A source text, parsed and compiled once, and what it defines.

    Args:
        text: the source; bytes may hold an encoding declaration.
        filename: the name to compile it under.
        modified: when the file was last written, in seconds since 1970; 0 for a cell.
    Raises:
        SyntaxError, ValueError: the text isn't Python.
    """

    def __init__(self, text: bytes | str, filename: str, modified: float = 0.0) -> None:
        self.filename = filename
        self.modified = modified
        self.tree = ast.parse(text, filename)
        self.bindings: dict[str, list[ast.stmt]] = defaultdict(list)
        self.rebound: set[str] = set()  # globals that functions assign
        self.star_imports: list[ast.ImportFrom] = []
        self._nodes: dict[tuple[str, int], list[Node]] = defaultdict(list)
        self._codes: dict[str, list[CodeType]] = defaultdict(list)
        self._codes_at: dict[int, list[CodeType]] = defaultdict(list)
        self._texts: dict[int, str] = {}
        self._definitions: dict[tuple[int, ...], Definition] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, Node):
                self._nodes[_name(node), _first_line(node)].append(node)
            elif isinstance(node, ast.Global):
                self.rebound.update(node.names)
        for code in _inner_codes(compile(text, filename, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, True)):
            self._codes[code.co_qualname].append(code)
            self._codes_at[code.co_firstlineno].append(code)
        for statement in _module_statements(self.tree.body):
            for name in _bound_names(statement):
                self.bindings[name].append(statement)
            if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
                self.star_imports.append(statement)

    def find_function(self, loaded: CodeType) -> Node | None:
        """Find the definition that a loaded code object comes from; None when it was edited since."""
        text = code_text(loaded)
        equal = [code for code in self._codes.get(loaded.co_qualname, []) if self._text(code) == text]
        if len(equal) > 1:
            equal.sort(key=lambda code: _distance(code, loaded))
        return self._node_of(equal[0]) if equal else None

    def find_classes(self, qualname: str) -> list[ast.ClassDef]:
        """Find the definitions of classes with this qualified name."""
        codes = [code for code in self._codes.get(qualname, []) if not code.co_flags & _OPTIMIZED]
        return [node for node in map(self._node_of, codes) if isinstance(node, ast.ClassDef)]

    def define(self, *nodes: ast.AST) -> Definition:
        """Give the digest of a definition or of statements, and the names that they load."""
        key = tuple(map(id, nodes))
        if key not in self._definitions:
            uses = frozenset(use for node in nodes for use in self._uses(node))
            self._definitions[key] = Definition(digest(dump(nodes)), uses)
        return self._definitions[key]

    def _uses(self, node: ast.AST) -> Iterator[Use]:
        if not isinstance(node, Node):
            yield from tree_uses([node])
            return
        yield from tree_uses(_header(node))
        for code in self._codes_at[_first_line(node)]:
            if self._node_of(code) is node:
                yield from code_uses(code)

    def _text(self, code: CodeType) -> str:
        if id(code) not in self._texts:
            self._texts[id(code)] = code_text(code)
        return self._texts[id(code)]

    def _node_of(self, code: CodeType) -> Node | None:
        nodes = self._nodes.get((code.co_name, code.co_firstlineno), [])
        if len(nodes) < 2:
            return next(iter(nodes), None)
        # the walk is breadth first, so that of nested lambdas the innermost comes last
        return next((node for node in reversed(nodes) if _holds(node, code)), None)


def _name(node: Node) -> str:
    return "<lambda>" if isinstance(node, ast.Lambda) else node.name


def _first_line(node: Node) -> int:
    lines: list[int] = [decorator.lineno for decorator in getattr(node, "decorator_list", [])]
    return min([node.lineno, *lines])


def _positions(code: CodeType) -> list[tuple[int, int, int, int]]:
    complete = [(a, c, b, d) for a, b, c, d in code.co_positions() if None not in (a, b, c, d)]
    return [(a, c, b, d) for a, c, b, d in complete if (a, c) != (b, d)]  # type: ignore[misc]


def _holds(node: Node, code: CodeType) -> bool:
    if not isinstance(node, ast.Lambda):
        return False
    start, end = _start(node.body), (node.body.end_lineno, node.body.end_col_offset)
    return all(start <= spot[:2] and spot[2:] <= end for spot in _positions(code))


def _start(node: ast.expr) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _distance(code: CodeType, loaded: CodeType) -> tuple[bool, int]:
    same = list(code.co_positions()) == list(loaded.co_positions())
    return not same, abs(code.co_firstlineno - loaded.co_firstlineno)


def _inner_codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _inner_codes(constant)


def _module_statements(body: Iterable[ast.AST]) -> Iterator[ast.stmt]:
    for statement in body:
        if isinstance(statement, ast.stmt):
            yield statement
        if not isinstance(statement, Node):
            yield from _module_statements(
                child
                for child in ast.iter_child_nodes(statement)
                if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case)
            )


def _bound_names(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
    targets: list[ast.AST] = [*getattr(statement, "targets", [])]
    targets += [getattr(statement, "target", None) or ast.Pass()]
    targets += [item.optional_vars for item in getattr(statement, "items", []) if item.optional_vars]
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.expr):
            targets += [named.target for named in ast.walk(child) if isinstance(named, ast.NamedExpr)]
    return {name for target in targets for name in _target_names(target)}


def _target_names(target: ast.AST) -> Iterator[str]:
    while isinstance(target, ast.Subscript | ast.Attribute | ast.Starred):
        target = target.value
    if isinstance(target, ast.Name):
        yield target.id
    for element in getattr(target, "elts", []):
        yield from _target_names(element)


class Sources:
    """Reads sources, and keeps them while their files stay as they are."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[tuple[object, ...], Source | None]] = {}

    def read(self, filename: str, namespace: dict[str, Any]) -> Source | None:
        """Give the source that is under this name now, on disk or in a notebook's cell, or None."""
        modified = 0.0
        state: tuple[object, ...]
        try:
            status = Path(filename).stat()
            modified, state = status.st_mtime, (status.st_mtime_ns, status.st_size)
        except (OSError, ValueError):
            state = tuple(linecache.getlines(filename, namespace))
        kept = self._kept.get(filename)
        if kept is None or kept[0] != state:
            text = None if modified else "".join(map(str, state))
            kept = self._kept[filename] = (state, _parse(filename, text, modified))
        return kept[1]


def _parse(filename: str, text: str | None, modified: float) -> Source | None:
    if text == "":
        return None
    try:
        return Source(Path(filename).read_bytes() if text is None else text, filename, modified)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
