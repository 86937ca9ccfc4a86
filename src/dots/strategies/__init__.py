"""Operation-search methods: a name for each, chosen by `--strategy`."""

from __future__ import annotations

from dots.errors import UserError, did_you_mean
from dots.strategies.base import OperationSearch
from dots.strategies.darts import Darts

STRATEGIES: dict[str, type[OperationSearch]] = {
    "darts": Darts,
}


def find_strategy(name: str) -> type[OperationSearch]:
    """The class of a strategy. Raises UserError for an unknown name."""
    if name not in STRATEGIES:
        raise UserError(f"unknown strategy {name!r}: {did_you_mean(name, STRATEGIES)}")
    return STRATEGIES[name]
