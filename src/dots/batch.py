"""A batch of images, as every stage receives it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """`images` float32 [B, C, H, W], normalised; `labels` int64 [B]; both on the device.

    `total` is the number of images in the batch over all processes; this one has B of them.
    """

    images: Tensor
    labels: Tensor
    total: int

    def part(self, images: Tensor, labels: Tensor) -> Batch:
        """A part of this batch."""
        return Batch(images, labels, self.total)
