"""The images of a run again: training images to calibrate on, test images to compare on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dots.common.errors import UserError
from dots.data import Batches, DataInfo, ImageSet, open_data
from dots.runs.directory import RunDirectory
from dots.runs.job import read_job

CALIBRATION = 256
"""So many training images are enough for the ranges of activations."""

COMPARED = 1000
"""So many test images are compared at most."""

_BATCH = 64


@dataclass(frozen=True)
class RunImages:
    """Normalised images [N, C, H, W] of a run's data, and the labels [N] of those of the test."""

    training: Tensor
    test: Tensor
    labels: Tensor


def example(info: DataInfo, count: int = 1) -> Tensor:
    """Noise in the place of normalised images [count, C, H, W], to measure with."""
    shape = (count, info.channels, info.image_size, info.image_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def read_run_images(run: Path, info: DataInfo, source: str | None = None) -> RunImages:
    """Some of the images of a run, evenly spread over its data.

    `source` replaces that of the run, where it has moved. Nothing is downloaded. Raises
    UserError where the data cannot be had, or are others than the network was trained on.
    """
    directory = RunDirectory.read(run)
    spec = source or read_job(directory).data
    if spec is None:
        raise UserError(f"{str(run)!r} was run on data given from Python: name them with --data")
    recipe = directory.recipe
    data = open_data(
        spec, recipe.data, recipe.seed, splits_folder=run, download=False, save_split=False
    )
    if (data.info.classes, data.info.channels) != (info.classes, info.channels):
        raise UserError(f"{spec!r} are other data than {str(run)!r} was run on: name its own")
    training, _ = _some(data.train, CALIBRATION, info)
    return RunImages(training, *_some(data.test, COMPARED, info))


def _some(images: ImageSet, most: int, info: DataInfo) -> tuple[Tensor, Tensor]:
    rows = torch.linspace(0, len(images) - 1, min(most, len(images))).round().long()
    cpu = torch.device("cpu")
    batches = Batches(images, rows, _BATCH, info=info, stream="export", device=cpu)
    parts = list(batches.epoch(0))
    return torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts])
