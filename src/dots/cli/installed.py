"""Help that names what is installed beside the package; only help has to look for it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from typer.core import TyperCommand

from dots.common.plugins import Kind, installed

_LISTED: Mapping[str, Kind] = MappingProxyType(
    {"strategy": "strategy", "strategies": "strategy", "space": "space", "to": "export"}
)
"""Parameters whose help lists plug-ins, and which."""


class ListsInstalled(TyperCommand):
    """A command whose help lists the installed strategies, spaces and exports."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The help of a copy of the command, in which the options name them."""
        told = copy.copy(self)
        told.params = [_telling(param) for param in self.params]
        super(ListsInstalled, told).format_help(ctx, formatter)


def _telling(param: Any) -> Any:
    kind = _LISTED.get(param.name or "")
    names = installed(kind) if kind is not None else ()
    if not names:
        return param
    told = copy.copy(param)
    told.help = f"{param.help} Installed: {', '.join(names)}."
    return told
