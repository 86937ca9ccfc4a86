"""Genotypes as other programs write them: told apart when read, and written.

Everywhere that takes a genotype file takes them. Text of Python is parsed as literals and never
evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from dots.common.errors import UserError
from dots.common.files import parse_json
from dots.space.formats import darts, nasbench201, naslib, nni
from dots.space.formats.darts import literal
from dots.space.genotype import Genotype
from dots.space.search_space import SearchSpace

__all__ = ["WRITERS", "is_text", "read"]

WRITERS: Mapping[str, Callable[[Genotype], str]] = MappingProxyType(
    {
        "dots": Genotype.to_text,
        "darts": darts.write,
        "nasbench201": nasbench201.to_string,
        "naslib": naslib.write,
        "nni": nni.write,
        "confopt": darts.write_confopt,
    }
)
"""What writes a genotype, by the name of the format. Each raises UserError where it cannot."""

_PYTHON = re.compile(r"Genotype\s*\(")


def is_text(text: str) -> bool:
    """Whether `text` is a genotype itself, of a format that no file name looks like."""
    return text.lstrip().startswith("|") or _PYTHON.search(text) is not None


def read(text: str, where: str, space: SearchSpace | None = None) -> Genotype:
    """The genotype in `text`, of any format that is known; `where` names it in errors.

    `space` as in `Genotype.from_json`.

    Raises UserError where it is none, or of none.
    """
    try:
        if text.lstrip().startswith("|"):
            return nasbench201.from_string(text)
        value = darts.read(text) if _PYTHON.search(text) else _value(text, where)
        if nni.recognises(value):
            return nni.read(value)
        if naslib.recognises(value):
            return naslib.read(value)
    except _FileError as error:
        raise UserError(str(error)) from None
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return Genotype.from_json(value, where, space)


class _FileError(UserError):
    """A line that names the file already."""


def _value(text: str, where: str) -> Any:
    """The JSON value of `text`, or that of a literal of Python, as print shows it."""
    try:
        return parse_json(text, what="a genotype", where=where)
    except UserError as error:
        try:
            return literal(text)
        except UserError:
            raise _FileError(str(error)) from None
