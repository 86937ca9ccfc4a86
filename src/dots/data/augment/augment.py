"""Random changes of training images, each image its own, a whole batch at a time.

In the published order: crop, flip, colour, normalise, cutout. The images are 8-bit and
channels-last, and stay so as long as possible: most of the cost is bytes moved.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dots.common.errors import UserError
from dots.data.augment.colour import ColourDraws, ColourJitter
from dots.data.augment.crops import CropChoice, Shift, resized_crops
from dots.data.batch import to_device
from dots.data.info import DataInfo

_PIECE = 49_152  # numbers that a CPU normalises at once


@dataclass(frozen=True)
class Augmentation:
    """Which random changes are made.

    `crop_padding`: the image is padded with that many zero pixels (black, before
    normalisation) and cut back to its size at a random place. `resized_crop`: instead, a crop
    of random size and aspect is stretched to the size. `flip`: half of the images are
    mirrored. `colour`: brightness, contrast, saturation and hue vary. `cutout`: a square of
    that side in pixels (an odd side is one less) around a uniform centre is set to zero in
    the normalised image; it may be cut off at the border (DeVries & Taylor 2017).
    """

    crop_padding: int = 0
    resized_crop: bool = False
    flip: bool = False
    colour: ColourJitter | None = None
    cutout: int = 0

    def draw(self, count: int, size: int, draw: torch.Generator) -> Draws:
        """The random numbers for `count` images of side `size`."""
        ranges = (
            2 * self.crop_padding + 1,
            2 * self.crop_padding + 1,
            2 if self.flip else 1,
            size if self.cutout else 1,
            size if self.cutout else 1,
        )
        whole = [torch.randint(0, high, (count,), generator=draw) for high in ranges]
        crops = CropChoice.draw(count, draw) if self.resized_crop else None
        colours = self.colour.draw(count, draw) if self.colour else None
        return Draws(torch.stack(whole), crops, colours)


@dataclass(frozen=True)
class Draws:
    """The random numbers of B images, on the CPU.

    `whole` [5, B] int64: crop row and column, flip (0 or 1), row and column of the cutout's
    centre. `crops` and `colours` where these are wanted.
    """

    whole: Tensor
    crops: CropChoice | None
    colours: ColourDraws | None

    def part(self, start: int, end: int) -> Draws:
        """The numbers of the images from `start` to before `end`."""
        return Draws(
            self.whole[:, start:end],
            None if self.crops is None else CropChoice(self.crops.uniforms[start:end]),
            None if self.colours is None else self.colours.part(start, end),
        )


class Transform:
    """From stored images to what the network sees: augmentation and normalisation.

    Calling it needs no other random numbers than the given draws, does not wait for the
    device, and returns float32 [B, C, H, W] in channels-last memory.
    """

    def __init__(
        self, info: DataInfo, augmentation: Augmentation | None, device: torch.device
    ) -> None:
        self.augmentation = augmentation or Augmentation()
        self.device = device
        self._shift = Shift(self.augmentation.crop_padding)
        width = info.image_size
        mean = torch.tensor(info.mean, dtype=torch.float64).repeat(width)
        std = torch.tensor(info.std, dtype=torch.float64).repeat(width)
        # One row of pixels at a time is scaled: an inner loop over C numbers would be slow.
        self._bias = (-mean / std).float().to(device)
        self._scale = (1 / std).float().to(device)
        self._scale_8_bit = (1 / (255 * std)).float().to(device)
        self._cut_rows = _cut_rows(width, info.channels, self.augmentation.cutout // 2).to(device)

    def __call__(self, images: Tensor, draws: Draws | None, *, cropped: bool = False) -> Tensor:
        """Change and normalise `images` [B, C, H, W], uint8 or float32, on the device.

        Without `draws` they are only normalised. `cropped` says that the random resized crops
        were taken while decoding.
        """
        is_8_bit = images.dtype == torch.uint8
        if draws is not None and draws.crops is not None and not cropped:
            boxes = draws.crops.boxes(images.shape[2], images.shape[3])
            images = resized_crops(images, boxes)
        pixels = images.permute(0, 2, 3, 1).contiguous()
        if draws is not None and (self.augmentation.crop_padding or self.augmentation.flip):
            pixels = self._shift(pixels, draws.whole)
        if draws is not None and draws.colours is not None:
            if not is_8_bit:
                raise UserError("colour jitter needs 8-bit images: set train.colour_jitter=false")
            changed = draws.colours.apply(pixels.permute(0, 3, 1, 2).float() / 255)
            pixels, is_8_bit = changed.permute(0, 2, 3, 1).contiguous(), False
        centres = draws.whole[3:] if draws is not None and self.augmentation.cutout > 1 else None
        return self._normalised(pixels, centres, self._scale_8_bit if is_8_bit else self._scale)

    def _normalised(self, pixels: Tensor, centres: Tensor | None, scale: Tensor) -> Tensor:
        """Normalised images [B, C, H, W] of [B, H, W, C], with squares around `centres` cut."""
        batch, height, width, channels = pixels.shape
        rows = pixels.view(batch, height, width * channels)
        result = torch.empty_like(rows, dtype=torch.float32)
        kept = None if centres is None else self._kept_rows(centres, height)
        # On a CPU in pieces, so that what is needed on the way stays in the cache and small:
        # large temporaries would go back to the system every time, and cost twice the work.
        count = max(1, _PIECE // rows[0].numel()) if self.device.type == "cpu" else batch
        for start in range(0, batch, count):
            piece = slice(start, start + count)
            torch.addcmul(self._bias, rows[piece].float(), scale, out=result[piece])
            if kept is not None:
                mask = self._cut_rows.index_select(0, kept[piece].flatten())
                result[piece].mul_(mask.view(-1, height, width * channels))
        return result.view(pixels.shape).permute(0, 3, 1, 2)

    def _kept_rows(self, centres: Tensor, height: int) -> Tensor:
        """Which of `_cut_rows` masks each row of pixels [B, H], for cut centres [2, B]."""
        half = self.augmentation.cutout // 2
        row = torch.arange(height)
        start = (centres[0] - half)[:, None]
        inside = (row >= start) & (row < start + 2 * half)
        uncut = len(self._cut_rows) - 1
        return to_device(torch.where(inside, centres[1][:, None], uncut), self.device)


def _cut_rows(width: int, channels: int, half: int) -> Tensor:
    """Rows [W + 1, W · C] of a mask: for each column of the centre, and one without cut."""
    column = torch.arange(width)
    start = column[:, None] - half
    inside = (column >= start) & (column < start + 2 * half)
    rows = torch.cat((1 - inside.float(), torch.ones(1, width)))
    return rows.repeat_interleave(channels, dim=1)
