"""Searching a model of the user's own, `dots.nn`: its layers, and which inputs are summed.

`LayerChoice` and `InputChoice` stand in any `nn.Module`; `search` decides them in the two stages
of the paper, `derive` puts in their place what was chosen. No cell, skeleton or genotype is needed.
"""

from __future__ import annotations

from dots.nas.own_models.choices import Choices, InputChoice, LayerChoice, SelectedInputs, derive
from dots.nas.own_models.search import Outcome, search

__all__ = [
    "Choices",
    "InputChoice",
    "LayerChoice",
    "Outcome",
    "SelectedInputs",
    "derive",
    "search",
]
