"""What distinguishes a published skeleton, and the sizes that were published. No torch.

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


@dataclass(frozen=True)
class OwnSize:
    """A published network: its data set, cells (without those of the stem) and channels."""

    data: str
    cells: int
    channels: int

    @property
    def image_size(self) -> int:
        """Pixels: 32 for CIFAR, 224 for ImageNet."""
        return 224 if self.data == "imagenet" else 32

    @property
    def classes(self) -> int:
        """10 or 1,000."""
        return 1000 if self.data == "imagenet" else 10


_OWN: Mapping[str, tuple[SkeletonRules, tuple[OwnSize, ...]]] = MappingProxyType(
    {
        # N = 6, F = 32; N = 4, F = 44. N counts the normal cells of each of three stages.
        "NASNet_A_tf": (NASNET, (OwnSize("cifar", 20, 32), OwnSize("imagenet", 14, 44))),
        # N = 3, F = 48; N = 3, F = 54: the cells that reduce are among the N.
        "PNASNet5_tf": (NASNET, (OwnSize("cifar", 9, 48), OwnSize("imagenet", 9, 54))),
        "AmoebaNet_A_tf": (NASNET, (OwnSize("cifar", 20, 36), OwnSize("imagenet", 14, 50))),
        "AmoebaNet_B_tf": (NASNET, (OwnSize("cifar", 20, 36), OwnSize("imagenet", 11, 62))),
        "AmoebaNet_C_tf": (NASNET, (OwnSize("cifar", 20, 36), OwnSize("imagenet", 14, 50))),
        "ENAS_micro": (ENAS, (OwnSize("cifar", 17, 36),)),
    }
)


def own_rules(name: str) -> SkeletonRules | None:
    """The skeleton of the zoo's cell `name`; None where it is that of DARTS."""
    return _OWN[name][0] if name in _OWN else None


def own_sizes(name: str) -> tuple[OwnSize, ...]:
    """The published sizes of the zoo's cell `name` in its own skeleton; may be empty."""
    return _OWN[name][1] if name in _OWN else ()
