"""What a preset changes in another search space than the DARTS one it was written for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dots.recipe.settings import Recipe

_Section = Mapping[str, Any]

_NETWORK: _Section = MappingProxyType({"cells": 15, "channels": 16})

# The benchmark's own network has three stages of five cells and 16 channels; its topologies
# are all non-empty subsets of a node's edges.
_BENCHMARK: Mapping[str, _Section] = MappingProxyType(
    {
        "operations": _NETWORK,
        "topology": {**_NETWORK, "edges": "any"},
        "train": _NETWORK,
    }
)
# One cell a stage and half the resolution are enough to search by: the accuracies come from
# a table.
_SMALLER: Mapping[str, Mapping[str, _Section]] = MappingProxyType(
    {
        "tiny": {
            "operations": {"cells": 3, "channels": 4},
            "topology": {"cells": 3, "channels": 4},
            "train": {"cells": 3, "channels": 8},
        },
        # Chosen by cifar100_test with seeds 100-104; see docs/findings.md.
        "quick": {
            "data": {"image_size": 16, "limit": None, "search_limit": 20_000},
            "operations": {"cells": 3, "epochs": 12, "weight_epochs": 6},
            "topology": {"cells": 3, "epochs": 8, "weight_epochs": 2, "alpha_ratio": 0.1},
        },
        "small": {
            "data": {"image_size": 16},
            "operations": {"cells": 3},
            "topology": {"cells": 3},
        },
    }
)


def fitted(recipe: Recipe, space: str) -> Recipe:
    """The preset `recipe` as it is meant in `space`; unchanged in the DARTS space.

    S4 has operations of one topology-agnostic group alone, of which an edge keeps the best.
    """
    if space == "s4":
        return recipe.model_copy(update={"space": space, "retain": "top1"})
    if space != "nasbench201":
        return recipe
    changes = {name: dict(section) for name, section in _BENCHMARK.items()}
    for name, section in _SMALLER.get(recipe.preset, {}).items():
        changes[name] = {**changes.get(name, {}), **section}
    sections = {
        name: getattr(recipe, name).model_copy(update=section) for name, section in changes.items()
    }
    return recipe.model_copy(update={"space": space, **sections})
