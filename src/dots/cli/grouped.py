"""What typer lacks: groups of options, and help that names what is installed beside the package."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import MappingProxyType
from typing import Any, get_type_hints

from typer.core import TyperCommand

from dots.common.plugins import Kind, installed


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with the options of its groups in their place, as typer reads a signature.

    A group is a keyword parameter whose type is a dataclass of options with defaults.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}

    def called(**options: Any) -> None:
        made = {
            name: group(**{field.name: options.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**options, **made)

    parameters = [
        option
        for parameter in inspect.signature(command).parameters.values()
        for option in (
            _options(groups[parameter.name])
            if parameter.name in groups
            else [parameter.replace(annotation=hints[parameter.name])]
        )
    ]
    called.__name__, called.__doc__ = command.__name__, command.__doc__
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {option.name: option.annotation for option in parameters}
    return called


def _options(group: Any) -> Iterator[inspect.Parameter]:
    """The fields of a group as parameters."""
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )


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
