"""Reading a strategy's own settings out of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from dots.errors import UserError, did_you_mean, shown
from dots.strategies.base import MethodSettings, OperationSearch


def read_settings(strategy: type[OperationSearch], values: Mapping[str, Any]) -> MethodSettings:
    """The settings of a strategy, checked. Raises UserError, naming the setting."""
    known = list(strategy.Settings.model_fields)
    for name in values:
        if name not in known:
            remedy = did_you_mean(name, known) if known else "it has none"
            raise UserError(f"the strategy {strategy.name!r} has no setting {name!r}: {remedy}")
    try:
        return strategy.Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, ("method", *first["loc"])))
        raise UserError(f"{name} = {shown(first['input'])}: {first['msg']}") from None
