"""Random crops of the padded image and mirroring, a whole batch in one copy."""

from __future__ import annotations

import torch
from torch import Tensor

from dots.data.batch import to_device


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
