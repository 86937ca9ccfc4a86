"""Feature maps as rows of channels, the layout in which kernels take them."""

from __future__ import annotations

from torch import Tensor


def as_rows(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H·W, C], contiguous: a view where x is channels-last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2).contiguous()


def as_map(rows: Tensor, like: Tensor) -> Tensor:
    """Undo `as_rows`: a map of the height and width of `like`."""
    return rows.view(len(rows), *like.shape[2:], -1).permute(0, 3, 1, 2)
