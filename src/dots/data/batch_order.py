"""Which image comes when, with which random numbers, on which process. No pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from dots.common.seeding import generator
from dots.data.augment.augment import Augmentation, Draws


class Plan:
    """The order of the rows [N] and all random numbers, from (seed, stream, epoch, step) alone.

    The global batches of an epoch differ in size by at most one; each of `world` processes
    takes a consecutive piece of each, again of nearly equal size. Random numbers are drawn
    for the global batch and then cut, so the number of processes changes no image.
    """

    def __init__(
        self,
        rows: Tensor,
        batch_size: int,
        augmentation: Augmentation | None,
        image_size: int,
        *,
        shuffle: bool,
        seed: int,
        stream: str,
        rank: int,
        world: int,
    ) -> None:
        self.all_rows = rows
        self.steps = -(-len(rows) // batch_size)
        self.augmentation = augmentation
        self.image_size = image_size
        self.shuffle = shuffle
        self.seed = seed
        self.stream = stream
        self.rank = rank
        self.world = world
        self._order: tuple[int, Tensor] = (-1, rows)

    def bounds(self, step: int) -> tuple[int, int]:
        """Where a global batch starts and ends in the order of the epoch."""
        count = len(self.all_rows)
        return step * count // self.steps, (step + 1) * count // self.steps

    def share(self, step: int) -> tuple[int, int]:
        """Where this process' piece starts and ends within the global batch."""
        start, end = self.bounds(step)
        count = end - start
        return self.rank * count // self.world, (self.rank + 1) * count // self.world

    def rows(self, epoch: int, step: int) -> Tensor:
        """The rows [B] that this process reads in that step."""
        if self._order[0] != epoch:  # the last epoch's order is kept
            self._order = (epoch, self._ordered(epoch))
        start, _ = self.bounds(step)
        first, last = self.share(step)
        return self._order[1][start + first : start + last]

    def _ordered(self, epoch: int) -> Tensor:
        if not self.shuffle:
            return self.all_rows
        draw = generator(self.seed, self.stream, "order", epoch)
        return self.all_rows[torch.randperm(len(self.all_rows), generator=draw)]

    def draws(self, epoch: int, step: int) -> Draws | None:
        """The random numbers of this process' images; None where nothing is augmented."""
        if self.augmentation is None:
            return None
        start, end = self.bounds(step)
        draw = generator(self.seed, self.stream, "augment", epoch, step)
        draws = self.augmentation.draw(end - start, self.image_size, draw)
        return draws.part(*self.share(step))
