"""What maps the programs take, and the grids that they run in."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

TILE = 2048
"""Numbers of a tile, positions times channels: with four warps the fastest of 1024 to 4096."""
PARTS = 256
"""Programs that fill a GPU."""
FINISHED = 4096
"""Numbers of the tiles' sums that are added at once."""


class Sizes(NamedTuple):
    """Of the maps that a convolution reads and gives."""

    images: int
    channels: int
    height: int
    width: int
    out_height: int
    out_width: int
    stride: int

    @classmethod
    def of(cls, shape: torch.Size, stride: int) -> Sizes:
        """Of a convolution of maps of this shape [B, C, H, W], padded to keep it at stride 1."""
        images, channels, height, width = shape
        return cls(
            images, channels, height, width, -(-height // stride), -(-width // stride), stride
        )

    @property
    def inner(self) -> Sizes:
        """Of a convolution at stride 1 of what this one gives."""
        return self._replace(height=self.out_height, width=self.out_width, stride=1)

    @property
    def inputs(self) -> int:
        """Positions of the map that is read."""
        return self.images * self.height * self.width

    @property
    def positions(self) -> int:
        """Of the map that is given."""
        return self.images * self.out_height * self.out_width

    @property
    def plane(self) -> tuple[int, int, int, int]:
        """The sizes that programs need to find a neighbour."""
        return self.height, self.width, self.out_height, self.out_width

    @property
    def padded(self) -> int:
        """Channels as programs see them, which also multiply matrices."""
        return max(16, 1 << (self.channels - 1).bit_length())

    @property
    def tile(self) -> int:
        """Positions of a tile."""
        return max(2, TILE // self.padded)

    def tiles(self, positions: int) -> int:
        """Of a map."""
        return -(-positions // self.tile)

    @property
    def shape(self) -> dict[str, Any]:
        """Of a map, as all programs take it."""
        return {"CHANNELS": self.channels, "C": self.padded}

    @property
    def parts(self) -> tuple[int, int]:
        """How many programs take a map that is only read, and how many tiles each."""
        tiles = self.tiles(self.positions)
        each = -(-tiles // PARTS)
        return -(-tiles // each), each

    @property
    def finish(self) -> dict[str, Any]:
        """How sums of parts are added, of all channels in one program."""
        return {**self.shape, "T": FINISHED // self.padded}

    @property
    def finish_apart(self) -> dict[str, Any]:
        """The same of 16 channels in each of `-(-channels // 16)` programs."""
        return {"CHANNELS": self.channels, "C": 16, "T": FINISHED // 16}
