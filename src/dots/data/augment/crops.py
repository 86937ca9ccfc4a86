"""Random crops: of random size and aspect (Inception's), or padded and of the image's own size."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from dots.data.batch import to_device
from dots.data.decode import Box

SCALE = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
ATTEMPTS = 10


@dataclass(frozen=True)
class CropChoice:
    """What decides one crop per image: uniform numbers [B, ATTEMPTS, 4] float64 in [0, 1).

    An attempt uses four: the area, the aspect, the row and the column. As torchvision does
    it, the first attempt that fits counts, and if none does, the middle of the image.
    """

    uniforms: Tensor

    @staticmethod
    def draw(count: int, draw: torch.Generator) -> CropChoice:
        """The choices for `count` images."""
        shape = (count, ATTEMPTS, 4)
        return CropChoice(torch.rand(shape, generator=draw, dtype=torch.float64))

    def boxes(self, height: int, width: int) -> Tensor:
        """Top, left, height, width [B, 4] int64 of the crops of images of one size."""
        area, aspect, row, column = self.uniforms.unbind(2)
        area = height * width * (SCALE[0] + (SCALE[1] - SCALE[0]) * area)
        low, high = map(math.log, RATIO)
        aspect = torch.exp(low + (high - low) * aspect)
        wide = torch.round(torch.sqrt(area * aspect))
        high_ = torch.round(torch.sqrt(area / aspect))
        fits = (wide > 0) & (wide <= width) & (high_ > 0) & (high_ <= height)
        top = torch.floor(row * (height - high_ + 1))
        left = torch.floor(column * (width - wide + 1))
        tried = torch.stack((top, left, high_, wide), dim=2).long()
        first = tried[torch.arange(len(tried)), fits.int().argmax(1)]
        return torch.where(fits.any(1)[:, None], first, torch.tensor(_fallback(height, width)))

    def chooser(self, place: int) -> Callable[[int, int], Box]:
        """For the image at `place`: from its width and height to left, top, right, bottom."""
        own = CropChoice(self.uniforms[place : place + 1])

        def choose(width: int, height: int) -> Box:
            top, left, tall, wide = own.boxes(height, width)[0].tolist()
            return (left, top, left + wide, top + tall)

        return choose


def _fallback(height: int, width: int) -> tuple[int, int, int, int]:
    """The middle of the image, cut to the nearest aspect that is allowed."""
    wide, tall = width, height
    if width / height < RATIO[0]:
        tall = round(width / RATIO[0])
    elif width / height > RATIO[1]:
        wide = round(height * RATIO[1])
    return (height - tall) // 2, (width - wide) // 2, tall, wide


def resized_crops(images: Tensor, boxes: Tensor) -> Tensor:
    """Cut `boxes` [B, 4] (top, left, height, width) from images [B, C, H, W], stretch to H × W.

    Bilinear, as if each crop were an image of its own (pixels outside of it do not count).
    A crop is never larger than the result, so no antialiasing is needed. Returns float32.
    """
    height, width = images.shape[2:]
    top, left, tall, wide = to_device(boxes, images.device).float()[:, :, None].unbind(1)
    rows = _positions(top, tall, height)
    columns = _positions(left, wide, width)
    grid = torch.stack(
        (
            columns[:, None, :].expand(-1, height, -1),
            rows[:, :, None].expand(-1, -1, width),
        ),
        dim=3,
    )
    return grid_sample(images.float(), grid, padding_mode="border", align_corners=False)


def _positions(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Where each of `size` pixels [B, size] reads, from -1 to 1 over the whole axis."""
    pixel = torch.arange(size, device=start.device, dtype=torch.float32)
    position = ((pixel + 0.5) * length / size - 0.5).clamp(min=0)
    position = start + torch.minimum(position, length - 1)
    return (2 * position + 1) / size - 1


class Shift:
    """Pads images by `padding` zero pixels on each side and crops them back; mirrors some.

    All crops are windows of one overlapping view of the padded batch, so that a single
    index_select copies them. To mirror, the images are padded in two groups (the mirrored
    last), and the same index puts them back in order: cropping a mirrored image at column x
    is mirroring the crop at 2 · padding - x.
    """

    def __init__(self, padding: int) -> None:
        self.padding = padding
        self._padded = torch.empty(0)

    def __call__(self, pixels: Tensor, draws: Tensor) -> Tensor:
        """Crops [B, H, W, C] of images of that shape; `draws` [3 or more, B] on the CPU.

        Its rows: the first row and column of the crop in the padded image, and 1 to mirror.
        """
        batch, height, width, channels = pixels.shape
        top, left, flip = draws[0], draws[1], draws[2]
        order = flip.argsort(stable=True)
        plain = batch - int(flip.sum())  # on the CPU: nothing waits
        place = torch.empty_like(order)
        place[order] = torch.arange(batch)
        left = torch.where(flip == 1, 2 * self.padding - left, left)
        tall, wide = height + 2 * self.padding, (width + 2 * self.padding) * channels
        starts = (place * tall + top) * wide + left * channels
        order, starts = to_device(torch.stack((order, starts)), pixels.device)
        padded = self._canvas(pixels)
        inner = padded[:, self.padding : tall - self.padding]
        inner = inner[:, :, self.padding : self.padding + width]
        inner[:plain] = pixels.index_select(0, order[:plain])
        inner[plain:] = pixels.index_select(0, order[plain:]).flip(2)
        row = width * channels
        windows = batch * tall * wide - (height - 1) * wide - row + 1
        view = padded.as_strided((windows, height, row), (1, wide, 1))
        return view.index_select(0, starts).view(pixels.shape)

    def _canvas(self, pixels: Tensor) -> Tensor:
        """A tensor for the padded batch, kept from call to call: its border stays zero."""
        batch, height, width, channels = pixels.shape
        shape = (batch, height + 2 * self.padding, width + 2 * self.padding, channels)
        kept = self._padded
        if (kept.shape, kept.dtype, kept.device) != (shape, pixels.dtype, pixels.device):
            kept = self._padded = pixels.new_zeros(shape)
        return kept
