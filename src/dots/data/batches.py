"""Batches for the network: their order, and images in memory or ahead from worker processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dots.common.errors import UserError
from dots.common.seeding import generator
from dots.data.augment.augment import Augmentation, Draws, Transform
from dots.data.batch import Batch, to_device
from dots.data.decode import ImageError
from dots.data.images import ImageSet, StreamedImages
from dots.data.info import DataInfo


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


class Batches:
    """Batches of the rows `indices` [N] of an image set, epoch after epoch.

    Every image comes once an epoch, in batches of nearly equal size, none larger than
    `batch_size` (over all `world` processes). The order and the augmentation depend on
    `seed`, `stream` (who reads) and `epoch` alone, so any batch can be had again, and 1, 2 or
    4 processes see the same images. Without `augment` images are only normalised. `workers`
    processes decode streamed images ahead in `epoch`; the results are the same without them.
    Resident images need none.

    Raises UserError for no images, or fewer in a batch than processes.
    """

    def __init__(
        self,
        images: ImageSet,
        indices: Tensor,
        batch_size: int,
        *,
        info: DataInfo,
        stream: str,
        device: torch.device,
        augment: Augmentation | None = None,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
    ) -> None:
        if not len(indices):
            raise UserError(f"no images for {stream!r}")
        self.images = images
        self.device = device
        self.workers = workers
        self.plan = Plan(
            indices,
            batch_size,
            augment,
            info.image_size,
            shuffle=shuffle,
            seed=seed,
            stream=stream,
            rank=rank,
            world=world,
        )
        smallest = len(indices) // self.steps
        if smallest < world:
            raise UserError(
                f"a batch of {smallest} images cannot be shared by {world} processes: "
                "raise the batch size or use fewer devices"
            )
        self.transform = Transform(info, augment, device)

    @property
    def steps(self) -> int:
        """Batches in an epoch: the number of images over the batch size, rounded up."""
        return self.plan.steps

    def sizes(self, step: int) -> tuple[int, int]:
        """How many images the batch of that step has on this process, and on all together."""
        start, end = self.plan.bounds(step)
        first, last = self.plan.share(step)
        return last - first, end - start

    def rows(self, epoch: int, step: int) -> Tensor:
        """The rows of the image set [B] that this process sees in that step."""
        return self.plan.rows(epoch, step)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `start` on."""
        steps = range(start, self.steps)
        if isinstance(self.images, StreamedImages) and self.workers and steps:
            return self._ahead(epoch, steps)
        return (self.batch(epoch, step) for step in steps)

    def batch(self, epoch: int, step: int) -> Batch:
        """The batch of one step. Raises IndexError beyond the epoch."""
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} of an epoch of {self.steps}")
        rows, draws = self.plan.rows(epoch, step), self.plan.draws(epoch, step)
        return self._finish(_read(self.images, rows, draws), rows, draws, step)

    def _finish(self, images: Tensor, rows: Tensor, draws: Draws | None, step: int) -> Batch:
        if images.device != self.device:
            images = to_device(images, self.device)
        streamed = isinstance(self.images, StreamedImages)
        images = self.transform(images, draws, cropped=streamed)
        labels = to_device(self.images.labels.index_select(0, rows), self.device)
        return Batch(images, labels, self.sizes(step)[1])

    def _ahead(self, epoch: int, steps: range) -> Iterator[Batch]:
        """As epoch(), with the images decoded by worker processes."""
        loader = DataLoader(
            _StepReader(self.images, self.plan, epoch),
            batch_size=None,
            sampler=list(steps),
            num_workers=self.workers,
            collate_fn=_unchanged,
            worker_init_fn=_start_worker,
            generator=torch.Generator(),  # its own: the global one stays as it was
        )
        for step, images in zip(steps, loader, strict=True):
            if isinstance(images, ImageError):
                raise images
            rows, draws = self.plan.rows(epoch, step), self.plan.draws(epoch, step)
            yield self._finish(images, rows, draws, step)


def _read(images: ImageSet, rows: Tensor, draws: Draws | None) -> Tensor:
    crops = draws.crops if draws is not None else None
    return images.read(to_device(rows, images.device), crops)


class _StepReader(Dataset[Tensor | ImageError]):
    """The images of each step; problems travel as values, to keep their message."""

    def __init__(self, images: ImageSet, plan: Plan, epoch: int) -> None:
        self.images = images
        self.plan = plan
        self.epoch = epoch

    def __getitem__(self, step: int) -> Tensor | ImageError:
        rows, draws = self.plan.rows(self.epoch, step), self.plan.draws(self.epoch, step)
        try:
            return _read(self.images, rows, draws)
        except ImageError as problem:
            return problem


def _unchanged(value: Any) -> Any:
    return value


def _start_worker(worker: int) -> None:
    """Ctrl-C is for the main process, which then ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
