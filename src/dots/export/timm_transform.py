"""The preprocessing of the training, called as timm's `create_transform` is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from dots.common.errors import UserError
from dots.data import DataInfo, prepare


def create_transform(
    *,
    input_size: Sequence[int],
    mean: Sequence[float],
    std: Sequence[float],
    crop_pct: float,
    crop_mode: str = "center",
    interpolation: str = "bilinear",
) -> Callable[[str | Path | Image.Image], Tensor]:
    """From an image file or a picture to what the network takes, [C, H, W], normalised.

    The arguments are what timm's `resolve_model_data_config(model)` gives. timm's own transform
    resizes first and cuts then, which moves pixels where the image is not of the right size;
    this one cuts first, as the training did. Raises UserError for another `crop_mode` or
    `interpolation`.
    """
    if (crop_mode, interpolation) != ("center", "bilinear"):
        raise UserError(
            f"crop_mode {crop_mode!r} with interpolation {interpolation!r}: the training had "
            "'center' and 'bilinear'"
        )
    channels, size, _ = input_size
    info = DataInfo("", ("",), channels, size, tuple(mean), tuple(std), False, crop_pct)
    return lambda picture: prepare(picture, info)[0]
