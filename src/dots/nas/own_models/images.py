"""Batches of a user's own data set: its halves, and all of it."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from dots.common.errors import UserError
from dots.common.seeding import generator
from dots.data.batch import Batch, to_device

Images = Dataset[tuple[Tensor, int]]
Part = Literal["half A", "half B", "all"]


class Halves:
    """Two halves of a data set of (image, label) pairs, drawn from the seed.

    Raises UserError for fewer than two images.
    """

    def __init__(self, images: Images, seed: int, device: torch.device, workers: int = 0) -> None:
        assert isinstance(images, Sized)
        count = len(images)
        if count < 2:
            raise UserError(f"a search needs images for two halves, and the data set has {count}")
        order = torch.randperm(count, generator=generator(seed, "halves")).tolist()
        self.rows: dict[Part, list[int]] = {
            "half A": order[: count // 2],
            "half B": order[count // 2 :],
            "all": order,
        }
        self.images, self.seed, self.device, self.workers = images, seed, device, workers

    def batches(self, part: Part, size: int) -> ImageBatches:
        """Batches of `size` images; what is left over at the end of an epoch is left out."""
        return ImageBatches(self, part, min(size, len(self.rows[part])))


class ImageBatches:
    """A part of the images in an order of each epoch's own."""

    def __init__(self, halves: Halves, part: Part, size: int) -> None:
        self.halves, self.part, self.size = halves, part, size
        self.steps = len(halves.rows[part]) // size

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        halves, rows = self.halves, self.halves.rows[self.part]
        draws = generator(halves.seed, self.part, epoch)
        order = torch.randperm(len(rows), generator=draws).tolist()
        steps = [order[step * self.size :][: self.size] for step in range(start, self.steps)]
        loader: DataLoader[Any] = DataLoader(
            Subset(halves.images, rows),
            batch_sampler=steps,
            num_workers=halves.workers,
            generator=draws,
        )
        for images, labels in loader:
            yield Batch(
                to_device(images, halves.device), to_device(labels, halves.device), len(labels)
            )
