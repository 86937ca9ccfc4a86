from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dots.common.errors import UserError
from dots.data.sources.arrays import array_part, read_npz
from dots.data.sources.records import as_tensor


def images(count: int = 4, shape: tuple[int, ...] = (6, 5)) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_keras_names(tmp_path: Path) -> None:
    path = save(
        tmp_path / "things.npz",
        x_train=images(),
        y_train=np.array([7, 3, 7, 9]),
        x_test=images(3),
        y_test=np.array([9, 5, 3]),
    )
    source = read_npz(path)
    assert source.name == "things"
    assert source.classes == ("3", "7", "9")
    assert source.train.labels.tolist() == [1, 0, 1, 2]
    assert source.test is not None
    assert source.test.labels.tolist() == [2, 0], "the class 5 is unknown to the training part"
    assert "1 images left out" in source.notices[0]


def test_medmnist_names_with_label_columns(tmp_path: Path) -> None:
    arrays = {}
    for part, count in (("train", 4), ("val", 2), ("test", 2)):
        arrays[f"{part}_images"] = images(count, (8, 8, 3))
        arrays[f"{part}_labels"] = np.arange(count)[:, None] % 2
    source = read_npz(save(tmp_path / "x.npz", **arrays))
    assert len(source.train) == 6
    assert source.test is not None
    assert len(source.test) == 2


def test_one_part_with_text_labels(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npz", images=images(), labels=np.array(["b", "a", "b", "a"]))
    source = read_npz(path)
    assert source.classes == ("a", "b")
    assert source.test is None


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((6, 5), (6, 5, 1)),
        ((6, 5, 3), (6, 5, 3)),
        ((3, 6, 5), (6, 5, 3)),
        ((13, 16, 16), (16, 16, 13)),
        ((16, 16, 13), (16, 16, 13)),
        ((1, 8, 8), (8, 8, 1)),
        ((8, 8, 8), (8, 8, 8)),
    ],
)
def test_layouts(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    array = images(4, shape)
    pixels = as_tensor(array_part(array, np.arange(4), "x").records)
    assert pixels is not None
    assert pixels.shape == (4, *expected)
    assert pixels.is_contiguous()
    moved = array.transpose(0, 2, 3, 1) if expected[:2] != shape[:2] else array
    assert np.array_equal(pixels.numpy(), moved.reshape(4, *expected))


def test_numbers() -> None:
    def numbers(array: Any) -> torch.Tensor:
        pixels = as_tensor(array_part(array, np.arange(len(array)), "x").records)
        assert pixels is not None
        return pixels

    assert numbers(np.full((1, 2, 2), 65_535, dtype=np.uint16)).flatten().tolist() == [1.0] * 4
    assert numbers(np.full((1, 2, 2), -3.5)).dtype == torch.float32
    assert numbers(np.full((1, 2, 2), 200)).dtype == torch.uint8
    for wrong in (np.full((1, 2, 2), 256), np.full((1, 2, 2), -1), np.full((1, 2, 2), 1j)):
        with pytest.raises(UserError, match="x: pixels must be 0 to 255 or floating-point"):
            numbers(wrong)
    with pytest.raises(UserError, match="not finite"):
        numbers(np.full((1, 2, 2), np.nan))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": [1]}, "holds 'a': expected the arrays x_train and y_train"),
        ({"images": images(), "labels": [0, 1]}, "4 images need labels of shape \\(4,\\)"),
        ({"images": images(), "labels": [0.5] * 4}, "labels must be integers or text"),
        ({"images": [1, 2], "labels": [0, 1]}, "images must be \\[N, H, W\\]"),
        ({"images": images(), "labels": np.eye(4)}, "need labels of shape"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_npz(save(tmp_path / "x.npz", **arrays))


def test_pickles_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npz", images=np.array([{}, {}], dtype=object), labels=[0, 1])
    with pytest.raises(UserError, match=r"cannot read .*x\.npz' as \.npz"):
        read_npz(path)


def test_an_array_that_claims_more_than_there_is(tmp_path: Path) -> None:
    header = io.BytesIO()
    facts = {"descr": "|u1", "fortran_order": False, "shape": (10**9, 32, 32)}
    np.lib.format.write_array_header_1_0(header, facts)
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", header.getvalue() + b"\0" * 100)
    with pytest.raises(UserError, match=r"'images\.npy' is damaged or too large"):
        read_npz(path)


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_damaged_files_raise_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = save(tmp_path_factory.mktemp("npz") / "x.npz", images=images(), labels=[0, 1, 0, 1])
    content = bytearray(path.read_bytes())
    places = st.integers(0, len(content) - 1)
    for place, value in data.draw(st.dictionaries(places, st.integers(0, 255), max_size=4)).items():
        content[place] = value
    path.write_bytes(content[: data.draw(places)] if data.draw(st.booleans()) else content)
    try:
        read_npz(path)
    except UserError as error:
        message = str(error)
        assert "\n" not in message
