"""Our own strategies by name, as the contract suites of `dots.testing` search with them."""

from __future__ import annotations

from dots.nas.strategies import STRATEGIES
from dots.nas.strategies.base import OperationSearch
from dots.space.search_space import SearchSpace
from dots.testing.searching import SMALL, copied, counted, operation_modules, run, same, search

__all__ = ["QUICK", "SMALL", "build", "copied", "counted", "operation_modules", "run", "same"]

QUICK: dict[str, dict[str, object]] = {
    "proxyless-nas": {"weight_steps": 2},
    "sdarts-adv": {"attack_steps": 2},
    "shapley-nas": {"permutations": 1},
}
"""Settings with which α moves in an epoch of two steps, and a step is quick, where the default
ones are slower."""


def build(
    name: str, space: SearchSpace = SMALL, *, fast: bool = False, **changes: object
) -> OperationSearch:
    """A search by name, in its first epoch; see `dots.testing.searching.search`.

    By default on the plain kernels, which are the faster ones for networks as small as these.
    """
    return search(STRATEGIES[name], space, method=QUICK.get(name), fast=fast, **changes)
