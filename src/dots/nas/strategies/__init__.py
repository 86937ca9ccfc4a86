"""Operation-search methods: a name for each, chosen by `--strategy`."""

from __future__ import annotations

from inspect import isabstract

from dots.common.errors import UserError
from dots.common.plugins import Plugin, find_outside
from dots.nas.strategies.asap import Asap
from dots.nas.strategies.base import OperationSearch
from dots.nas.strategies.beta_darts import BetaDarts
from dots.nas.strategies.darts import Darts
from dots.nas.strategies.darts_minus import DartsMinus
from dots.nas.strategies.darts_plus import DartsPlus
from dots.nas.strategies.darts_second_order import DartsSecondOrder
from dots.nas.strategies.dr_nas import DrNas
from dots.nas.strategies.drop_nas import DropNas
from dots.nas.strategies.fair_darts import FairDarts
from dots.nas.strategies.gdas import Gdas
from dots.nas.strategies.is_darts import IsDarts
from dots.nas.strategies.merge_nas import MergeNas
from dots.nas.strategies.oles import Oles
from dots.nas.strategies.p_darts import PDarts
from dots.nas.strategies.pc_darts import PcDarts
from dots.nas.strategies.proxyless_nas import ProxylessNas
from dots.nas.strategies.random_operations import RandomOperations
from dots.nas.strategies.sdarts import SdartsAdv, SdartsRs
from dots.nas.strategies.shapley_nas import ShapleyNas
from dots.nas.strategies.snas import Snas
from dots.nas.strategies.stac_nas import StacNas

STRATEGIES: dict[str, type[OperationSearch]] = {
    "asap": Asap,
    "beta-darts": BetaDarts,
    "darts": Darts,
    "darts-2nd": DartsSecondOrder,
    "darts-minus": DartsMinus,
    "darts-plus": DartsPlus,
    "dr-nas": DrNas,
    "drop-nas": DropNas,
    "fair-darts": FairDarts,
    "gdas": Gdas,
    "is-darts": IsDarts,
    "merge-nas": MergeNas,
    "oles": Oles,
    "p-darts": PDarts,
    "pc-darts": PcDarts,
    "proxyless-nas": ProxylessNas,
    "random": RandomOperations,
    "sdarts-adv": SdartsAdv,
    "sdarts-rs": SdartsRs,
    "shapley-nas": ShapleyNas,
    "snas": Snas,
    "stac-nas": StacNas,
}


def find_strategy(name: str, given: Plugin | None = None) -> type[OperationSearch]:
    """The class of a strategy: one of ours, the `given` one, or an installed one.

    Raises UserError for an unknown name, and for what is no strategy.
    """
    if name in STRATEGIES:
        return STRATEGIES[name]
    found = find_outside("strategy", name, STRATEGIES, given).value
    if not (isinstance(found, type) and issubclass(found, OperationSearch)):
        raise UserError(f"{name} is no strategy: make it a subclass of {OperationSearch.__name__}")
    if isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise UserError(f"the strategy {name} is not complete: it lacks {missing}")
    return found
