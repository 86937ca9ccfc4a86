"""The preprocessing that goes with an export is that of the training, pixel for pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dots.data.decode import Geometry, no_warnings, open_image, pixels
from dots.export.pictures import picture

NOISE = np.random.default_rng(0).integers(0, 256, (61, 90, 3)).astype(np.uint8)


def saved(folder: Path, mode: str) -> Path:
    """A picture in this mode; JPEG and EXIF are modes of their own here."""
    image, path = Image.fromarray(NOISE), folder / f"{mode.replace(';', '_')}.png"
    match mode:
        case "I;16":
            image = Image.fromarray(NOISE[..., 0].astype(np.uint16) * 251 + 77)
        case "F":
            image, path = Image.fromarray(NOISE[..., 0] / np.float32(255)), path.with_suffix(".tif")
        case "CMYK":
            image, path = image.convert("CMYK"), path.with_suffix(".tif")
        case "P":
            image = image.quantize(32)
        case "RGBA" | "LA":
            image = image.convert("RGBA")
            image.putalpha(Image.fromarray(NOISE[..., 1]))
            image = image.convert(mode)
        case "JPEG":
            image, path = image.resize((900, 610)), path.with_suffix(".jpg")
        case "EXIF":
            exif = Image.Exif()
            exif[0x0112] = 6
            path = path.with_suffix(".jpg")
            image.resize((700, 400)).save(path, exif=exif)
            return path
        case _:
            image = image.convert(mode)
    image.save(path)
    return path


@pytest.mark.parametrize(
    "mode", ["RGB", "L", "1", "P", "LA", "RGBA", "CMYK", "I;16", "F", "JPEG", "EXIF"]
)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("size", "centre"), [(16, 1.0), (61, 1.0), (70, 0.875)])
def test_pictures_are_those_of_the_training(
    tmp_path: Path, mode: str, channels: int, size: int, centre: float
) -> None:
    path = saved(tmp_path, mode)
    with no_warnings():
        expected = pixels(open_image(path, "'x'"), Geometry(size, channels, centre), "'x'")
        how = {"input_size": [channels, size, size], "crop_pct": centre}
        found = np.asarray(picture(str(path), how)).reshape(size, size, channels)
    assert (found == expected).all()
