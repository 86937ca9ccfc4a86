"""The skeletons that published cells of other spaces were evaluated in."""

from dots.skeletons.network import OwnNetwork, published_cost
from dots.skeletons.rules import ENAS, NASNET, RULES, SkeletonRules

__all__ = ["ENAS", "NASNET", "RULES", "OwnNetwork", "SkeletonRules", "published_cost"]
