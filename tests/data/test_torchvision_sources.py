from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets
from PIL import Image

from dots.common.errors import UserError
from dots.data.sources.records import FileRecords, as_tensor
from dots.data.sources.torchvision import read_torchvision, torchvision_sets


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOTS_DATA", str(tmp_path))
    return tmp_path


def idx(array: np.ndarray) -> bytes:
    """The file format of MNIST."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def test_every_loader_exists() -> None:
    for name, loading in torchvision_sets().items():
        assert hasattr(torchvision.datasets, loading.loader), name
        assert "train" in loading.parts


def test_pixels_in_memory(folder: Path) -> None:
    raw = folder / "mnist" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 6), ("t10k", 4)):
        images = np.arange(count * 784, dtype=np.uint64).astype(np.uint8).reshape(count, 28, 28)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        labels = np.arange(count, dtype=np.uint8) % 10
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    source = read_torchvision("MNIST", download=False)
    assert source.name == "mnist"
    assert not source.flip
    assert source.classes[:2] == ("0 - zero", "1 - one")
    pixels = as_tensor(source.train.records)
    assert pixels is not None
    assert pixels.shape == (6, 28, 28, 1)
    assert source.train.labels.tolist() == list(range(6))
    assert source.test is not None
    assert len(source.test) == 4


def test_files_are_read_by_us(folder: Path) -> None:
    root = folder / "food101" / "food-101"
    (root / "meta").mkdir(parents=True)
    names = {"train": ["pie/1", "cake/2"], "test": ["pie/3", "cake/4"]}
    for part, files in names.items():
        by_class = {file.split("/")[0]: [file] for file in files}
        (root / "meta" / f"{part}.json").write_text(json.dumps(by_class))
        for file in files:
            (root / "images" / file).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(root / "images" / f"{file}.jpg")
    source = read_torchvision("food-101", download=False)
    assert source.classes == ("cake", "pie")
    assert isinstance(source.train.records, FileRecords)
    assert source.train.labels.tolist() == [1, 0]
    assert source.train.records[0].path == str(root / "images" / "pie" / "1.jpg")
    assert source.train.records[0].key == "food-101/images/pie/1.jpg"


def test_not_there_and_not_to_be_downloaded(folder: Path) -> None:
    with pytest.raises(UserError, match=r"'cifar10' is not in .*cifar10.*downloads are not"):
        read_torchvision("cifar10", download=False)
    with pytest.raises(UserError, match=r"'imagenet' is not in .* and cannot be downloaded"):
        read_torchvision("imagenet", download=True)


def test_a_download_that_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fail)
    with pytest.raises(UserError, match="the download failed: no route to host; put its files"):
        read_torchvision("cifar10", download=True)
