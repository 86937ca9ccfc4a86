"""What the training images are: channels and sizes, mean and deviation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

import torch
from PIL import Image
from torch import Tensor

from dots.common.errors import UserError
from dots.data.decode import ImageError, is_grayscale
from dots.data.sources.records import Raw, Records, as_tensor

LARGEST_DEFAULT = 64
"""Pixels. Larger images are shrunk to this unless `data.image_size` says otherwise: the cost
of a search grows with the area, and on a CPU more is seldom affordable."""

_BLOCKS, _BLOCK = 64, 8  # sizes are looked up in so many runs of so many neighbouring rows


@dataclass(frozen=True)
class Survey:
    """Channels of the network's input, and the median shorter side of the images in pixels."""

    channels: int
    shorter_side: int

    @property
    def image_size(self) -> int:
        """The default side: the median shorter side, at least 8, at most LARGEST_DEFAULT.

        It is rounded down to a multiple of 4, so that two reductions halve it exactly.
        """
        return min(LARGEST_DEFAULT, max(8, self.shorter_side // 4 * 4))


def survey(records: Records, *, skip_corrupt: bool = False) -> Survey:
    """Look at the headers of training images.

    Sizes come from a sample of 512. Pictures have one channel if all of them are grayscale
    (every header is read to know), else three; arrays have what they have. Raises ImageError
    for a file that cannot be opened, unless `skip_corrupt`.
    """
    pixels = as_tensor(records)
    if pixels is not None:
        return Survey(pixels.shape[3], min(pixels.shape[1:3]))
    sides: list[int] = []
    channels = set[int]()
    for raw in _opened(records, _sample(len(records)), skip_corrupt):
        height, width, depth = _shape(raw)
        sides.append(min(height, width))
        channels.add(depth)
    if not sides:
        raise UserError("none of the images that were looked at can be read")
    if channels == {1} and any(
        _shape(raw)[2] != 1 for raw in _opened(records, range(len(records)), skip_corrupt)
    ):
        channels = {3}
    return Survey(3 if channels == {1, 3} else max(channels), int(median(sides)))


def _sample(count: int) -> list[int]:
    """Rows in evenly spaced runs: neighbours share a read where rows come in groups."""
    if count <= _BLOCKS * _BLOCK:
        return list(range(count))
    starts = [block * (count - _BLOCK) // (_BLOCKS - 1) for block in range(_BLOCKS)]
    return sorted({start + offset for start in starts for offset in range(_BLOCK)})


def _opened(records: Records, rows: list[int] | range, skip_corrupt: bool) -> Iterator[Raw]:
    for row in rows:
        try:
            raw = records[row].open()
        except ImageError:
            if not skip_corrupt:
                raise
            continue
        if isinstance(raw, Image.Image):
            with raw:
                yield raw
        else:
            yield raw


def _shape(raw: Raw) -> tuple[int, int, int]:
    """Height, width and channels."""
    if isinstance(raw, Image.Image):
        return raw.height, raw.width, 1 if is_grayscale(raw) else 3
    height, width, channels = raw.shape
    return height, width, channels


def moments(pixels: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of [N, H, W, C], in units of the full range.

    8-bit images are counted, not summed, so the result does not depend on threads or order.
    A channel that never changes gets the deviation 1.
    """
    if pixels.dtype == torch.uint8:
        means, deviations = zip(*map(_counted_moments, pixels.unbind(3)), strict=True)
    else:
        flat = pixels.double().flatten(0, 2)
        means = tuple(flat.mean(0).tolist())
        deviations = tuple(flat.std(0, correction=0).tolist())
    return means, tuple(d if d > 1e-6 else 1.0 for d in deviations)


def _counted_moments(channel: Tensor) -> tuple[float, float]:
    counts = sum(
        (
            torch.bincount(channel[start : start + 4096].flatten(), minlength=256)
            for start in range(0, len(channel), 4096)
        ),
        start=torch.zeros(256, dtype=torch.int64),
    ).double()
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = float(counts @ values / counts.sum())
    variance = float(counts @ (values - mean) ** 2 / counts.sum())
    return mean, variance**0.5


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """Loss weights [classes] float32, inverse to class frequency: N / (classes · count).

    `labels` is [N] int64. Averaged over the images the weights are 1. A class without images
    has weight 0.
    """
    counts = torch.bincount(labels, minlength=classes).double()
    weights = len(labels) / (int((counts > 0).sum()) * counts.clamp(min=1))
    return torch.where(counts > 0, weights, 0.0).float()
