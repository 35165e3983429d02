"""The dotted names that code and syntax trees load: what they may depend on."""

from __future__ import annotations

import ast
import dis
from collections.abc import Iterable, Iterator
from types import CodeType

import attrs

Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda

_GLOBAL_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_LOCAL_LOADS = ("LOAD_FAST", "LOAD_DEREF")
_ATTRIBUTE_LOADS = frozenset({"LOAD_ATTR", "LOAD_METHOD"})


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


def code_uses(code: CodeType) -> Iterator[Use]:
    """Give the globals, with the attributes behind them, and the imports of one code object."""
    current: Use | None = None
    steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
    for index, step in enumerate(steps):
        if current and step.opname in _ATTRIBUTE_LOADS:
            current = attrs.evolve(current, attributes=(*current.attributes, str(step.argval)))
            continue
        if current:
            yield current
        current = Use(step.argval) if step.opname in _GLOBAL_LOADS else None
        if step.opname == "IMPORT_NAME":
            # the two constants before it are the number of leading dots and the names after `import`
            level, names = steps[index - 2].argval, steps[index - 1].argval
            module = "." * level + step.argval
            yield from [Use(module, (name,), True) for name in names or ()] or [Use(module, (), True)]


def attributes_of(code: CodeType, local: str) -> frozenset[str]:
    """Give the attributes that a code object, or one inside it, loads of a local variable."""
    found = set()
    for each in (code, *inner_codes(code)):
        last: object = None
        for step in dis.get_instructions(each):
            if last == local and step.opname in _ATTRIBUTE_LOADS:
                found.add(str(step.argval))
            is_local = step.opname.startswith(_LOCAL_LOADS)
            last = step.argval[-1] if is_local and isinstance(step.argval, tuple) else is_local and step.argval
    return frozenset(found)


def tree_uses(nodes: Iterable[ast.AST]) -> Iterator[Use]:
    """Give the names, with the attributes behind them, that syntax trees load outside of code of their own."""
    pending = list(nodes)
    while pending:
        node = pending.pop()
        if use := _dotted(node):
            yield use
        elif isinstance(node, Scope):
            pending.extend(_header(node))
        else:
            pending.extend(ast.iter_child_nodes(node))


def inner_codes(code: CodeType) -> Iterator[CodeType]:
    """Give the code objects inside another one, at any depth."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from inner_codes(constant)


def _dotted(node: ast.AST) -> Use | None:
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return Use(node.id, tuple(reversed(attributes))) if isinstance(node, ast.Name) else None


def _header(scope: Scope) -> Iterator[ast.AST]:
    # decorators, bases, defaults and annotations run where the definition stands
    for name in ("decorator_list", "bases", "keywords"):
        yield from getattr(scope, name, [])
    yield from filter(None, [getattr(scope, "args", None), getattr(scope, "returns", None)])
