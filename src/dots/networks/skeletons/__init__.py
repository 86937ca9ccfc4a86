"""The skeletons that published cells of other spaces were evaluated in."""

from dots.networks.skeletons.network import OwnNetwork, published_cost
from dots.networks.skeletons.rules import ENAS, NASNET, RULES, SkeletonRules

__all__ = ["ENAS", "NASNET", "RULES", "OwnNetwork", "SkeletonRules", "published_cost"]
