"""Operation-search methods: a name for each, chosen by `--strategy`."""

from __future__ import annotations

from dots.errors import UserError, did_you_mean
from dots.strategies.base import OperationSearch
from dots.strategies.darts import Darts
from dots.strategies.darts_minus import DartsMinus
from dots.strategies.darts_plus import DartsPlus
from dots.strategies.drop_nas import DropNas
from dots.strategies.fair_darts import FairDarts
from dots.strategies.merge_nas import MergeNas
from dots.strategies.sdarts import SdartsAdv, SdartsRs

STRATEGIES: dict[str, type[OperationSearch]] = {
    "darts": Darts,
    "darts-minus": DartsMinus,
    "darts-plus": DartsPlus,
    "drop-nas": DropNas,
    "fair-darts": FairDarts,
    "merge-nas": MergeNas,
    "sdarts-adv": SdartsAdv,
    "sdarts-rs": SdartsRs,
}


def find_strategy(name: str) -> type[OperationSearch]:
    """The class of a strategy. Raises UserError for an unknown name."""
    if name not in STRATEGIES:
        raise UserError(f"unknown strategy {name!r}: {did_you_mean(name, STRATEGIES)}")
    return STRATEGIES[name]
