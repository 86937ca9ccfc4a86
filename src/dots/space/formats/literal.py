"""Values in the text of Python: literals, ranges, and what looks like a call. Nothing runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from dots.common.errors import UserError

MOST_CHARACTERS = 200_000


def literal(text: str) -> Any:
    """The value of a literal; tuples become lists. Raises UserError where `text` is none."""
    body = _parsed(text)
    if len(body) != 1 or not isinstance(body[0], ast.Expr):
        raise UserError("expected a single value")
    return value_of(body[0].value)


def calls(text: str) -> Iterator[tuple[str, ast.Call]]:
    """The calls that `text` makes or assigns, each with the name it is assigned to, or ""."""
    for statement in _parsed(text):
        if isinstance(statement, ast.Assign | ast.Expr) and isinstance(statement.value, ast.Call):
            targets = statement.targets if isinstance(statement, ast.Assign) else []
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            yield names[0] if names else "", statement.value


def called(call: ast.Call) -> str:
    """The last part of the name of what is called."""
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def value_of(node: ast.expr) -> Any:
    """The value of a literal, or of range(a, b) of such; tuples become lists."""
    if isinstance(node, ast.List | ast.Tuple):
        return [value_of(each) for each in node.elts]
    if isinstance(node, ast.Dict) and all(node.keys):
        keys = [value_of(key) for key in node.keys if key is not None]
        if all(isinstance(key, str) for key in keys):
            return dict(zip(keys, map(value_of, node.values), strict=True))
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float):
        return node.value
    if isinstance(node, ast.Call) and not node.keywords:
        arguments = [value_of(each) for each in node.args]
        if called(node) == "list" and len(arguments) == 1 and isinstance(arguments[0], list):
            return arguments[0]
        bounds = all(type(each) is int and 0 <= each <= 1000 for each in arguments)
        if called(node) == "range" and bounds and 1 <= len(arguments) <= 2:
            return list(range(*arguments))
    raise UserError(f"line {node.lineno}: expected names, numbers and lists of them")


def _parsed(text: str) -> list[ast.stmt]:
    if len(text) > MOST_CHARACTERS:
        raise UserError(f"{len(text)} characters are too many for a genotype")
    try:
        return ast.parse(text.strip()).body
    except SyntaxError as error:
        raise UserError(f"line {error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError):
        raise UserError("the text is no Python: expected a genotype") from None
