"""Single pictures: from a file to a network's input, and from its input back to a PNG."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from dots.common.errors import UserError
from dots.data.augment.augment import Transform
from dots.data.decode import Geometry, no_warnings, open_image
from dots.data.info import DataInfo
from dots.data.load import decode


def prepare(picture: str | Path | Image.Image, info: DataInfo) -> Tensor:
    """A picture as the network wants it: [1, C, H, W] float32, normalised.

    Raises UserError for a missing file, and ImageError (a UserError) for one that is no
    image, or where the network takes other than one or three channels.
    """
    if isinstance(picture, Image.Image):
        image, where = picture.copy(), "that was given"
    else:
        where = repr(str(picture))
        if not Path(picture).is_file():
            raise UserError(f"no file {where}: expected an image there")
        image = open_image(Path(picture), where)
    with no_warnings():
        pixels = decode(image, Geometry(info.image_size, info.channels, info.centre), where)
    return Transform(info, None, torch.device("cpu"))(pixels.permute(2, 0, 1)[None], None)


def pngs(images: Tensor, info: DataInfo) -> list[str]:
    """Normalised images [B, C, H, W] as base64 text of PNG files, for a web page.

    Of images with neither one nor three channels the first channel is shown. Arrays of
    floats, which have no natural range, are stretched from their smallest to largest number.
    """
    mean = torch.tensor(info.mean).view(1, -1, 1, 1)
    std = torch.tensor(info.std).view(1, -1, 1, 1)
    pixels = images.detach().float().cpu() * std + mean
    if info.channels not in (1, 3):
        pixels = pixels[:, :1]
    low, high = pixels.min(), pixels.max()
    if low < -0.01 or high > 1.01:
        pixels = (pixels - low) / (high - low)
    whole = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return [_png(image) for image in whole]


def _png(pixels: Tensor) -> str:
    array = pixels.numpy()
    file = io.BytesIO()
    Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")
