from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dots.data.decode import ImageError
from dots.data.sources.records import FileRecords, TensorRecords
from dots.data.survey import Survey, class_weights, moments, survey


def records(folder: Path, *images: Image.Image) -> FileRecords:
    files = tuple(f"{number}.png" for number in range(len(images)))
    for file, image in zip(files, images, strict=True):
        image.save(folder / file)
    return FileRecords(folder, files)


def test_grayscale_pictures_give_one_channel(tmp_path: Path) -> None:
    gray = [Image.new(mode, (20, 30)) for mode in ("L", "1", "LA", "I;16")]
    assert survey(records(tmp_path, *gray)) == Survey(1, 20)
    assert survey(records(tmp_path, *gray, Image.new("RGB", (20, 30)))) == Survey(3, 20)


def test_one_colour_picture_among_many_is_not_overlooked(tmp_path: Path) -> None:
    images = [Image.new("L", (4, 4))] * 700
    images[400] = Image.new("RGB", (4, 4))
    assert survey(records(tmp_path, *images)).channels == 3


def test_arrays_have_what_they_have() -> None:
    pixels = torch.zeros(2, 40, 30, 13, dtype=torch.uint8)
    assert survey(TensorRecords(pixels, "x")) == Survey(13, 30)


@pytest.mark.parametrize(
    ("side", "size"), [(3, 8), (8, 8), (15, 12), (28, 28), (32, 32), (33, 32), (500, 64)]
)
def test_default_size(side: int, size: int) -> None:
    assert Survey(3, side).image_size == size


def test_the_median_of_sizes(tmp_path: Path) -> None:
    images = [Image.new("L", size) for size in ((100, 20), (30, 40), (31, 900))]
    assert survey(records(tmp_path, *images)).shorter_side == 30


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    found = records(tmp_path, Image.new("L", (16, 16)), Image.new("L", (16, 16)))
    (tmp_path / "0.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"0\.png"):
        survey(found)
    assert survey(found, skip_corrupt=True) == Survey(1, 16)


def test_moments_of_8_bit_images() -> None:
    pixels = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (5000, 3, 2, 3), dtype=np.uint8)
    )
    mean, std = moments(pixels)
    flat = pixels.double().flatten(0, 2) / 255
    assert mean == pytest.approx(flat.mean(0).tolist(), rel=1e-12)
    assert std == pytest.approx(flat.std(0, correction=0).tolist(), rel=1e-12)


def test_moments_of_floats_are_in_their_own_units() -> None:
    pixels = torch.randn(50, 3, 2, 2) * 7 + 100
    mean, std = moments(pixels)
    assert mean == pytest.approx(pixels.double().mean((0, 1, 2)).tolist())
    assert std == pytest.approx(pixels.double().flatten(0, 2).std(0, correction=0).tolist())


def test_a_constant_channel_has_deviation_one() -> None:
    pixels = torch.full((4, 2, 2, 2), 9, dtype=torch.uint8)
    assert moments(pixels)[1] == (1.0, 1.0)
    assert moments(pixels.float())[1] == (1.0, 1.0)


def test_class_weights() -> None:
    labels = torch.tensor([0] * 6 + [1] * 3 + [3] * 3)
    weights = class_weights(labels, 4)
    assert weights.tolist() == pytest.approx([12 / 18, 12 / 9, 0, 12 / 9])
    assert float(weights[labels].mean()) == pytest.approx(1)
    assert weights.dtype == torch.float32
