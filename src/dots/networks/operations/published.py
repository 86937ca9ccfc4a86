"""Operations of published cells from other spaces: NASNet, AmoebaNet, SETN, GDAS.

They are there to build, count and train those cells, so every step is a stock PyTorch
module. Like the operations of `candidates` they take a Source and return Parts.
"""

from __future__ import annotations

from torch import nn

from dots.networks.operations.source import Parts, Source

BOTTLENECK = 4
"""AmoebaNet's full convolutions work on this fraction of the channels."""


def _conv_norm(
    channels_in: int, channels: int, kernel: tuple[int, int], stride: tuple[int, int], affine: bool
) -> list[nn.Module]:
    """A convolution that keeps the size at stride 1, and its batch norm."""
    padding = (kernel[0] // 2, kernel[1] // 2)
    conv = nn.Conv2d(channels_in, channels, kernel, stride, padding, bias=False)
    return [conv, nn.BatchNorm2d(channels, affine=affine)]


class Bottleneck(nn.Module):
    """ReLU, 1×1 convolution to a quarter of the channels, k×k there, 1×1 back (AmoebaNet).

    `kernels` are the convolutions in the middle, each followed by a batch norm and a ReLU;
    their strides multiply up to `stride` in either direction. `channels_in` are the input's
    channels where they are not `channels`.
    """

    def __init__(
        self,
        channels: int,
        kernels: tuple[tuple[int, int], ...],
        stride: int,
        affine: bool,
        channels_in: int | None = None,
    ) -> None:
        super().__init__()
        width = max(1, channels // BOTTLENECK)
        layers = _conv_norm(channels_in or channels, width, (1, 1), (1, 1), affine)
        for height, across in kernels:
            strides = (stride if height > 1 else 1, stride if across > 1 else 1)
            layers += [nn.ReLU(), *_conv_norm(width, width, (height, across), strides, affine)]
        self.body = nn.Sequential(*layers, nn.ReLU())
        self.pointwise = nn.Conv2d(width, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels, affine=affine)

    def forward(self, source: Source) -> Parts:
        return Parts(self.body(source.relu), self.pointwise.weight, self.norm)


class RowColumn(nn.Module):
    """ReLU, a 1×3 and a 3×1 convolution with nothing between, batch norm (SETN)."""

    def __init__(self, channels: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(*_row_column(channels, stride, groups=1))
        self.norm = nn.BatchNorm2d(channels, affine=affine)

    def forward(self, source: Source) -> Parts:
        return Parts(self.body(source.relu), None, self.norm)


class GroupedRowColumn(nn.Module):
    """The fixed reduction of GDAS: ReLU, 1×3 and 3×1 in 8 groups, norm, ReLU, 1×1, norm.

    Widths that 8 does not divide have as many groups as divide them.
    """

    def __init__(self, channels: int, stride: int, affine: bool) -> None:
        super().__init__()
        groups = next(count for count in range(8, 0, -1) if channels % count == 0)
        self.body = nn.Sequential(
            *_row_column(channels, stride, groups),
            nn.BatchNorm2d(channels, affine=affine),
            nn.ReLU(),
        )
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels, affine=affine)

    def forward(self, source: Source) -> Parts:
        return Parts(self.body(source.relu), self.pointwise.weight, self.norm)


def _row_column(channels: int, stride: int, groups: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, channels, (1, 3), (1, stride), (0, 1), groups=groups, bias=False),
        nn.Conv2d(channels, channels, (3, 1), (stride, 1), (1, 0), groups=groups, bias=False),
    ]


class SmallMaxPool(nn.Module):
    """2×2 max pooling that keeps the size at stride 1: beyond the far border is nothing."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, source: Source) -> Parts:
        height, width = source.x.shape[2:]
        right = 1 if self.stride == 1 else width % 2
        below = 1 if self.stride == 1 else height % 2
        padded = nn.functional.pad(source.x, (0, right, 0, below), value=-float("inf"))
        return Parts(nn.functional.max_pool2d(padded, 2, self.stride), None, None)


class NormedMaxPool(nn.Module):
    """3×3 max pooling and a batch norm, affine where the network's are (GDAS' reduction)."""

    def __init__(self, channels: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.stride = stride
        self.norm = nn.BatchNorm2d(channels, affine=affine)

    def forward(self, source: Source) -> Parts:
        return Parts(source.pooled("max", self.stride), None, self.norm)
