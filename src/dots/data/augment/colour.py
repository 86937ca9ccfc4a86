"""Colour jitter: brightness, contrast, saturation and hue of each image, in random order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dots.data.batch import to_device

GRAY = (0.2989, 0.587, 0.114)  # the weights of ITU-R 601, as torchvision rounds them


@dataclass(frozen=True)
class ColourJitter:
    """How far the factors go from 1, and how far the hue turns (1 is the whole circle).

    The defaults are those of the ImageNet recipe of DARTS and its successors. Saturation and
    hue change nothing but three-channel images.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.2

    def draw(self, count: int, draw: torch.Generator) -> ColourDraws:
        """The random numbers for `count` images: factors uniform in [1 - x, 1 + x]."""
        centre = torch.tensor((1.0, 1.0, 1.0, 0.0))
        reach = torch.tensor((self.brightness, self.contrast, self.saturation, self.hue))
        factors = centre + reach * (2 * torch.rand((count, 4), generator=draw) - 1)
        factors[:, :3].clamp_(min=0)
        order = torch.rand((count, 4), generator=draw).argsort(1)
        return ColourDraws(factors, order)


@dataclass(frozen=True)
class ColourDraws:
    """`factors` [B, 4] in the order of ColourJitter's fields; `order` [B, 4]: what comes when."""

    factors: Tensor
    order: Tensor

    def part(self, start: int, end: int) -> ColourDraws:
        """The numbers of the images from `start` to before `end`."""
        return ColourDraws(self.factors[start:end], self.order[start:end])

    def apply(self, images: Tensor) -> Tensor:
        """Changed images [B, C, H, W], float32 from 0 to 1.

        Which images take which change next is known on the CPU: nothing waits for a device.
        """
        images = images.clone()
        factors = to_device(self.factors, images.device)
        changes = _CHANGES if images.shape[1] == 3 else _CHANGES[:2]
        for turn in range(4):
            for which, change in enumerate(changes):
                rows = (self.order[:, turn] == which).nonzero().flatten()
                if len(rows):
                    rows = to_device(rows, images.device)
                    factor = factors[rows, which].view(-1, 1, 1, 1)
                    images[rows] = change(images[rows], factor)
        return images


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return (factor * images + (1 - factor) * other).clamp(0, 1)


def _gray(images: Tensor) -> Tensor:
    """Luminance [B, 1, H, W] of colour images; the mean of other channels."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    weights = torch.tensor(GRAY, device=images.device).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def _brightness(images: Tensor, factor: Tensor) -> Tensor:
    return _blend(images, torch.zeros_like(images), factor)


def _contrast(images: Tensor, factor: Tensor) -> Tensor:
    return _blend(images, _gray(images).mean((1, 2, 3), keepdim=True), factor)


def _saturation(images: Tensor, factor: Tensor) -> Tensor:
    return _blend(images, _gray(images), factor)


def _hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue by a share of the circle; value and saturation (HSV) stay."""
    value, index = images.max(1, keepdim=True)
    spread = value - images.min(1, keepdim=True).values
    safe = torch.where(spread == 0, 1.0, spread)
    red, green, blue = (images[:, channel : channel + 1] for channel in range(3))
    sector = torch.where(
        index == 0,
        (green - blue) / safe,
        torch.where(index == 1, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = sector + 6 * turn
    # Each channel is a trapezoid over the hue circle (sectors of one), shifted by a third.
    shift = torch.tensor((5.0, 3.0, 1.0), device=images.device).view(1, 3, 1, 1)
    place = (shift + hue) % 6
    return value - spread * torch.minimum(place, 4 - place).clamp(0, 1)


_CHANGES: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    _brightness,
    _contrast,
    _saturation,
    _hue,
)
