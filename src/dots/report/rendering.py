"""Filling in the templates."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dots.report.wording import kind_name, weight


def render(template: str, **values: Any) -> str:
    """A template filled in; all values but Markup are escaped."""
    return _environment().get_template(template).render(version=_version(), **values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: Mapping[str, Any] = {"weight": weight, "kind": kind_name}
    environment.filters.update(filters)
    return environment


def _version() -> str:
    try:
        return version("dots-nas")
    except PackageNotFoundError:  # run from a source tree
        return ""
