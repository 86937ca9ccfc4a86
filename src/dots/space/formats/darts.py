"""`Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=[2, 3, 4, 5], reduce=...)`.

As in the release of DARTS (quark0/darts, genotypes.py) and most that follow it. NASLib gives
its own concatenations and says "zero" for "none"; confopt calls it DARTSGenotype.
Text of Python is read as literals, ranges, and what looks like a call: nothing runs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from dots.common.errors import UserError, did_you_mean, shown
from dots.space.cell import Cell, Edge
from dots.space.genotype import Genotype
from dots.space.search_space import ZERO

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


FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
NASLIB_CONCAT = ([2, 3, 4, 5, 6], [4, 5, 6])
"""What NASLib's conversions give for the cells of DARTS, which concatenate nodes 2 to 5."""


def read(text: str) -> dict[str, Any]:
    """The JSON value of the one genotype in `text`. Raises UserError for another number of them."""
    found = [(name, call) for name, call in calls(text) if called(call).endswith("Genotype")]
    if len(found) != 1:
        names = ", ".join(name or "without a name" for name, _ in found[:8]) or "none"
        raise UserError(f"expected one Genotype(...), found {len(found)} ({names}): keep one")
    _, call = found[0]
    if len(call.args) > len(FIELDS):
        raise UserError(f"a Genotype has {', '.join(FIELDS)}")
    value = dict(zip(FIELDS, map(value_of, call.args), strict=False))
    for keyword in call.keywords:
        if keyword.arg not in FIELDS:
            hint = did_you_mean(keyword.arg or "", FIELDS)
            raise UserError(f"a Genotype has no {shown(keyword.arg)}: {hint}")
        value[keyword.arg] = value_of(keyword.value)
    if (value.get("normal_concat"), value.get("reduce_concat")) == NASLIB_CONCAT:
        value["normal_concat"] = value["reduce_concat"] = [2, 3, 4, 5]
    return {key: _named(each) for key, each in value.items()}


def _named(value: Any) -> Any:
    """With "none" for what NASLib calls "zero"."""
    if isinstance(value, list):
        return [_named(each) for each in value]
    return ZERO if value == "zero" else value


def write(genotype: Genotype) -> str:
    """The text of the DARTS release. Raises UserError where a node has no edge, or more than two.

    A node of one edge gets "none" beside it, which changes nothing.
    """
    fields = []
    for kind, cell in genotype.cells.items():
        fields += [f"{kind}={_pairs(cell, genotype, kind)}", f"{kind}_concat={list(cell.concat)}"]
    return f"Genotype({', '.join(fields)})"


def write_confopt(genotype: Genotype) -> str:
    """The same under the name that confopt gives it."""
    return f"DARTS{write(genotype)}"


def two_edges(genotype: Genotype, kind: str, cell: Cell, name: str) -> list[tuple[Edge, ...]]:
    """The edges of each node, which the format `name` has two of. Raises UserError for another."""
    if tuple(genotype.cells) != ("normal", "reduce"):
        raise UserError(f"the format {name!r} has a normal and a reduction cell: use another")
    for target, edges in enumerate(cell.nodes, start=genotype.inputs):
        if len(edges) not in (1, 2):
            raise UserError(
                f"the format {name!r} has two edges for each node, and node {target} of the "
                f"{kind} cell has {len(edges)}: use 'dots'"
            )
    return list(cell.nodes)


def _pairs(cell: Cell, genotype: Genotype, kind: str) -> list[tuple[str, int]]:
    pairs = []
    for edges in two_edges(genotype, kind, cell, "darts"):
        beside = (Edge(ZERO, edges[0].source),) * (2 - len(edges))
        pairs += [(edge.op, edge.source) for edge in (*edges, *beside)]
    return pairs
