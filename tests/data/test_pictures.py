from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dots.common.errors import UserError
from dots.data.decode import ImageError
from dots.data.info import DataInfo
from dots.data.pictures import pngs, prepare


def info(channels: int = 3) -> DataInfo:
    return DataInfo("x", ("a", "b"), channels, 8, (0.4,) * channels, (0.2,) * channels, True)


def test_a_picture_and_back(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    for given in (tmp_path / "x.png", str(tmp_path / "x.png"), Image.fromarray(pixels)):
        image = prepare(given, info())
        assert image.shape == (1, 3, 8, 8)
        expected = (torch.from_numpy(pixels).permute(2, 0, 1) / 255 - 0.4) / 0.2
        torch.testing.assert_close(image[0], expected, rtol=1e-5, atol=1e-5)
    (text,) = pngs(image, info())
    shown = Image.open(io.BytesIO(base64.b64decode(text)))
    assert np.array_equal(np.asarray(shown), pixels)


def test_grayscale_many_channels_and_floats() -> None:
    for channels in (1, 5):
        images = torch.randn(2, channels, 8, 8) * 40
        shown = [Image.open(io.BytesIO(base64.b64decode(t))) for t in pngs(images, info(channels))]
        assert [image.mode for image in shown] == ["L", "L"]
        extremes = [image.getextrema() for image in shown]
        assert min(low for low, _ in extremes) == 0
        assert max(high for _, high in extremes) == 255


def test_a_picture_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file '.*none\.png': expected an image there"):
        prepare(tmp_path / "none.png", info())
    (tmp_path / "x.png").write_text("hello")
    with pytest.raises(ImageError, match="it is no image"):
        prepare(tmp_path / "x.png", info())
    with pytest.raises(ImageError, match="cannot give 5 channels"):
        prepare(Image.new("L", (8, 8)), info(5))
