from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dots.data.decode import Geometry, ImageError
from dots.data.load import decode, load_all, squares
from dots.data.sources.records import FileRecords, Record, TensorRecords


def records(folder: Path, count: int) -> FileRecords:
    files = tuple(f"{number:03}.png" for number in range(count))
    for number, file in enumerate(files):
        Image.fromarray(np.full((6, 6), number, dtype=np.uint8)).save(folder / file)
    return FileRecords(folder, files)


def test_all_images_in_order_with_progress(tmp_path: Path) -> None:
    said: list[tuple[int, int]] = []
    pixels, rows, problems = load_all(
        records(tmp_path, 200), Geometry(4, 1), progress=lambda *now: said.append(now)
    )
    assert pixels.shape == (200, 4, 4, 1)
    assert (pixels == torch.arange(200).view(-1, 1, 1, 1)).all()
    assert rows.tolist() == list(range(200))
    assert not problems
    assert said == [(done, 200) for done in range(1, 201)]


def test_corrupt_images_stop_or_are_left_out(tmp_path: Path) -> None:
    found = records(tmp_path, 150)
    for row in (120, 33, 34):
        path = tmp_path / found.files[row]
        path.write_bytes(path.read_bytes()[:45])
    with pytest.raises(ImageError, match=r"cannot read the image '.*033\.png'"):
        load_all(found, Geometry(4, 1))
    pixels, rows, problems = load_all(found, Geometry(4, 1), skip_corrupt=True)
    left = [row for row in range(150) if row not in (120, 33, 34)]
    assert rows.tolist() == left
    assert pixels[:, 0, 0, 0].tolist() == left
    assert [Path(problem.where.strip("'")).name for problem in problems] == [
        "033.png",
        "034.png",
        "120.png",
    ]


def test_arrays_are_resized_like_pictures() -> None:
    array = np.random.default_rng(0).integers(0, 256, (3, 30, 40, 3), dtype=np.uint8)
    pixels, _, _ = load_all(TensorRecords(torch.from_numpy(array), "x"), Geometry(10, 3))
    for image, found in zip(array, pixels, strict=True):
        picture = decode(Image.fromarray(image), Geometry(10, 3), "x")
        assert (picture.int() - found.int()).abs().max() <= 1


def test_arrays_of_the_right_size_are_not_copied() -> None:
    array = torch.randn(3, 10, 10, 7)
    pixels, _, _ = load_all(TensorRecords(array, "x"), Geometry(10, 7))
    assert pixels.data_ptr() == array.data_ptr()


def test_the_middle_of_floating_point_arrays() -> None:
    array = torch.randn(2, 10, 14, 5) * 1000
    assert torch.equal(squares(array, Geometry(10, 5)), array[:, :, 2:12])
    assert squares(array, Geometry(4, 5)).dtype == torch.float32


def test_a_box_of_an_array() -> None:
    array = torch.arange(36, dtype=torch.uint8).view(6, 6, 1)
    box = decode(array, Geometry(3, 1), "x", lambda width, height: (1, 2, 4, 5))
    assert torch.equal(box, array[2:5, 1:4])


def test_items_of_another_kind() -> None:
    class Mixed(TensorRecords):
        def __getitem__(self, row: int) -> Record:
            dtype = torch.uint8 if row < 2 else torch.float32
            return Record(lambda: torch.zeros(4, 4, 1 + row, dtype=dtype), f"{row} of x", row)

    with pytest.raises(ImageError, match="1 of x: it has 2 channels, not 1"):
        decode(Mixed(torch.zeros(3), "x")[1].open(), Geometry(4, 1), "1 of x")
