from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dots.data.decode import Geometry
from dots.data.images import ImageData, ResidentImages, StreamedImages
from dots.data.info import DataInfo
from dots.data.load import load_all
from dots.data.sources.records import FileRecords


def records(folder: Path) -> FileRecords:
    draw = np.random.default_rng(0)
    files = tuple(f"{number}.png" for number in range(5))
    for file in files:
        Image.fromarray(draw.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(folder / file)
    return FileRecords(folder, files)


def test_streamed_images_are_the_resident_ones(tmp_path: Path) -> None:
    found, geometry = records(tmp_path), Geometry(12, 3)
    pixels, rows, problems = load_all(found, geometry)
    assert (rows.tolist(), problems) == ([0, 1, 2, 3, 4], [])
    resident = ResidentImages(pixels, torch.arange(5), ("a",) * 5)
    streamed = StreamedImages(found, torch.arange(5), geometry)
    wanted = torch.tensor([3, 0, 3])
    assert torch.equal(resident.read(wanted), streamed.read(wanted))
    for images in (resident, streamed):
        assert len(images) == 5
        assert images.read(wanted).shape == (3, 3, 12, 12)
        assert images.read(wanted).dtype == torch.uint8
        assert images.read(wanted).is_contiguous(memory_format=torch.channels_last)
        assert images.device == torch.device("cpu")
    assert streamed.path(2) == str(tmp_path / "2.png")
    assert resident.path(2) == "a"
    assert ResidentImages(pixels, torch.arange(5)).path(2) is None


def test_moving_to_a_device() -> None:
    images = ResidentImages(torch.zeros(2, 4, 4, 1, dtype=torch.uint8), torch.arange(2))
    info = DataInfo("x", ("a", "b"), 1, 4, (0.0,), (1.0,), True)
    data = ImageData(info, images, images, torch.tensor([0]), torch.tensor([1]), ("said",))
    moved = data.to(torch.device("meta"))
    assert moved.train.device.type == "meta"
    assert moved.notices == ("said",)
    assert moved.train.labels.device.type == "cpu"
