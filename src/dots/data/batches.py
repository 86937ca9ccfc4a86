"""Batches for the network, from resident images or ahead from worker processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dots.common.errors import UserError
from dots.data.augment.augment import Augmentation, Draws, Transform
from dots.data.batch import Batch, to_device
from dots.data.batch_order import Plan
from dots.data.decode import ImageError
from dots.data.images import ImageSet, StreamedImages
from dots.data.info import DataInfo


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
        augment: Augmentation | None,
        shuffle: bool,
        seed: int,
        stream: str,
        device: torch.device,
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
