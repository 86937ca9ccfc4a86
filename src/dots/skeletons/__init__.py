"""The skeletons that published cells of other spaces were evaluated in."""

from dots.skeletons.network import OwnNetwork, own_cost
from dots.skeletons.rules import ENAS, NASNET, OwnSize, SkeletonRules, own_rules, own_sizes

__all__ = [
    "ENAS",
    "NASNET",
    "OwnNetwork",
    "OwnSize",
    "SkeletonRules",
    "own_cost",
    "own_rules",
    "own_sizes",
]
