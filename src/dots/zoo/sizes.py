"""The sizes at which published cells were evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Data = Literal["cifar10", "cifar100", "imagenet"]
Skeleton = Literal["darts", "nasnet", "enas"]


@dataclass(frozen=True)
class PublishedSize:
    """A skeleton with its cells (those of a stem not counted) and initial channels."""

    data: Data
    skeleton: Skeleton
    cells: int
    channels: int

    @property
    def image_size(self) -> int:
        """Pixels a side: 32 for CIFAR, 224 for ImageNet."""
        return 224 if self.data == "imagenet" else 32

    @property
    def classes(self) -> int:
        """10, 100 or 1,000."""
        return {"cifar10": 10, "cifar100": 100, "imagenet": 1000}[self.data]


def _cifar(skeleton: Skeleton, cells: int, channels: int) -> tuple[PublishedSize, ...]:
    return (
        PublishedSize("cifar10", skeleton, cells, channels),
        PublishedSize("cifar100", skeleton, cells, channels),
    )


def _imagenet(skeleton: Skeleton, cells: int, channels: int) -> tuple[PublishedSize, ...]:
    return (PublishedSize("imagenet", skeleton, cells, channels),)


_DARTS = _cifar("darts", 20, 36) + _imagenet("darts", 14, 48)
_OTHERS: Mapping[str, tuple[PublishedSize, ...]] = MappingProxyType(
    {
        "GDAS_V1": _cifar("darts", 20, 36) + _imagenet("darts", 14, 50),
        # NASNet's N counts the normal cells of each of three stages: N = 6, F = 32 and
        # N = 4, F = 44. PNASNet's (3, 48 and 3, 54) includes the cells that reduce.
        "NASNet_A_tf": _cifar("nasnet", 20, 32) + _imagenet("nasnet", 14, 44),
        "PNASNet5_tf": _cifar("nasnet", 9, 48) + _imagenet("nasnet", 9, 54),
        "AmoebaNet_A_tf": _cifar("nasnet", 20, 36) + _imagenet("nasnet", 14, 50),
        "AmoebaNet_B_tf": _cifar("nasnet", 20, 36) + _imagenet("nasnet", 11, 62),
        "AmoebaNet_C_tf": _cifar("nasnet", 20, 36) + _imagenet("nasnet", 14, 50),
        "ENAS_micro": _cifar("enas", 17, 36),
    }
)


def published_sizes(name: str) -> tuple[PublishedSize, ...]:
    """The sizes of the zoo's cell `name`, in the skeleton that it was published in.

    Cells of the DARTS space: 20 cells of 36 channels on CIFAR; 14 of 48 on ImageNet, which
    most of their papers use.
    """
    return _OTHERS.get(name, _DARTS)


def own_skeleton(name: str) -> Skeleton:
    """The skeleton that the zoo's cell `name` was published in."""
    return published_sizes(name)[0].skeleton
