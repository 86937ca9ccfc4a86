"""What distinguishes a published skeleton. No torch.

NASNet, PNASNet and AmoebaNet share one skeleton, ENAS has another. Where they agree with the
DARTS skeleton (positions of the reduction cells, doubling of the channels, 3×3 stem with 3C
channels on small images) nothing is said here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class SkeletonRules:
    """How a skeleton differs from that of DARTS.

    In all of them an input whose width and resolution fit is passed on as it is (the older
    input alone; the newer one always goes through ReLU, 1×1 convolution, batch norm), an
    input that is part of the output is reduced without a ReLU, and a ReLU stands before the
    global pooling.

    `raw_first`: the first cell sees the stem's output unprocessed as its older input.
    `twice`: a newer input of another width is converted by two convolutions in a row.
    `strided_skip`: a skip connection at stride 2 is a 1×1 convolution (ReLU, batch norm), or
    a factorised reduction without a ReLU.
    `classifier_bias`: the last linear layer has a bias.
    `stem_cells`: reduction cells that follow a 3×3 convolution at stride 2 (with
    `stem_width` channels) on large images; None: there is no published one.
    """

    name: str
    raw_first: bool
    twice: bool
    strided_skip: str
    classifier_bias: bool
    stem_cells: int | None = None
    stem_width: int = 32


NASNET = SkeletonRules("nasnet", True, False, "convolution", True, stem_cells=2)
ENAS = SkeletonRules("enas", False, True, "factorised", False)


RULES: Mapping[str, SkeletonRules] = MappingProxyType({"nasnet": NASNET, "enas": ENAS})
"""By the names that `dots.zoo.sizes` uses; the DARTS skeleton is `dots.networks.derived`'s."""
