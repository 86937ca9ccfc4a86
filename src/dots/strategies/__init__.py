"""Operation-search methods: a name for each, chosen by `--strategy`."""

from __future__ import annotations

from dots.errors import UserError, did_you_mean
from dots.strategies.asap import Asap
from dots.strategies.base import OperationSearch
from dots.strategies.darts import Darts
from dots.strategies.darts_minus import DartsMinus
from dots.strategies.darts_plus import DartsPlus
from dots.strategies.darts_second_order import DartsSecondOrder
from dots.strategies.dr_nas import DrNas
from dots.strategies.drop_nas import DropNas
from dots.strategies.fair_darts import FairDarts
from dots.strategies.gdas import Gdas
from dots.strategies.merge_nas import MergeNas
from dots.strategies.p_darts import PDarts
from dots.strategies.pc_darts import PcDarts
from dots.strategies.proxyless_nas import ProxylessNas
from dots.strategies.random_operations import RandomOperations
from dots.strategies.sdarts import SdartsAdv, SdartsRs
from dots.strategies.snas import Snas
from dots.strategies.stac_nas import StacNas

STRATEGIES: dict[str, type[OperationSearch]] = {
    "asap": Asap,
    "darts": Darts,
    "darts-2nd": DartsSecondOrder,
    "darts-minus": DartsMinus,
    "darts-plus": DartsPlus,
    "dr-nas": DrNas,
    "drop-nas": DropNas,
    "fair-darts": FairDarts,
    "gdas": Gdas,
    "merge-nas": MergeNas,
    "p-darts": PDarts,
    "pc-darts": PcDarts,
    "proxyless-nas": ProxylessNas,
    "random": RandomOperations,
    "sdarts-adv": SdartsAdv,
    "sdarts-rs": SdartsRs,
    "snas": Snas,
    "stac-nas": StacNas,
}


def find_strategy(name: str) -> type[OperationSearch]:
    """The class of a strategy. Raises UserError for an unknown name."""
    if name not in STRATEGIES:
        raise UserError(f"unknown strategy {name!r}: {did_you_mean(name, STRATEGIES)}")
    return STRATEGIES[name]
