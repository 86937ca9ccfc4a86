"""A batch of images, as every stage receives it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
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


class BatchSource(Protocol):
    """Batches, epoch after epoch."""

    @property
    def steps(self) -> int:
        """How many an epoch has."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Those of an epoch from step `start` on."""


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on `device`: through pinned memory on CUDA, so the copy is asynchronous."""
    if device.type == "cpu":
        return tensor
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
