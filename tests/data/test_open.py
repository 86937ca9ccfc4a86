from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from dots.common.errors import UserError
from dots.data import ImageData, ResidentImages, StreamedImages, open_data, open_test
from dots.data.sources.read import read_source
from dots.recipe import DataSettings
from helpers.shared_data import shared_data

MakeFolder = Callable[[Mapping[str, int]], Path]


def opened(spec: Any, seed: int = 0, folder: Path | None = None, **changes: Any) -> ImageData:
    options = {
        key: changes.pop(key)
        for key in ("skip_corrupt", "resident_bytes", "workers", "download")
        if key in changes
    }
    return open_data(spec, DataSettings(**changes), seed, splits_folder=folder, **options)


def shown(data: ImageData) -> list[tuple[str, int]]:
    """Of each training image the file and the grey level in the middle."""
    rows = torch.arange(len(data.train))
    levels = data.train.read(rows)[:, 0, 6, 6].tolist()
    return [(str(data.train.path(row)), levels[row]) for row in rows.tolist()]


def test_digits() -> None:
    data = opened("digits")
    assert (len(data.train), len(data.test)) == (1438, 359)
    assert data.info.classes == tuple("0123456789")
    assert (data.info.channels, data.info.image_size, data.info.flip) == (1, 8, False)
    counts = [data.train.labels[half].bincount() for half in (data.half_a, data.half_b)]
    assert (counts[0] - counts[1]).abs().max() <= 1
    tested, trained = data.test.labels.bincount(), data.train.labels.bincount()
    shares = tested / (tested + trained)
    assert (shares - 0.2).abs().max() < 0.01
    pixels = data.train.read(torch.arange(1438)).double() / 255
    assert data.info.mean[0] == pytest.approx(float(pixels.mean()))
    assert data.info.std[0] == pytest.approx(float(pixels.std(correction=0)))
    assert data.where == "digits"


def test_the_seed_decides_every_split() -> None:
    first, same, other = opened("digits"), opened("digits"), opened("digits", seed=1)
    for name in ("half_a", "half_b"):
        assert torch.equal(getattr(first, name), getattr(same, name))
        assert not torch.equal(getattr(first, name), getattr(other, name))
    assert torch.equal(first.test.labels, same.test.labels)
    assert not torch.equal(first.test.labels, other.test.labels)


def test_cifar10_parquet_with_a_limit() -> None:
    data = opened(shared_data("cifar10"), limit=200, search_limit=100, resident_bytes=0)
    assert data.train.labels.bincount().tolist() == [20] * 10
    assert data.train.labels[data.half_a].bincount().tolist() == [5] * 10
    assert (len(data.half_a), len(data.half_b), len(data.test)) == (50, 50, 10_000)
    assert (data.info.channels, data.info.image_size, data.info.flip) == (3, 32, True)
    assert data.info.mean == pytest.approx((0.491, 0.482, 0.447), abs=0.03)
    assert data.info.std == pytest.approx((0.247, 0.243, 0.262), abs=0.03)
    assert data.test.read(torch.tensor([9999, 0])).shape == (2, 3, 32, 32)


def test_a_flat_folder_keeps_its_split(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder({"a": 10, "b": 20})
    first = opened(root, folder=tmp_path)
    saved = json.loads((tmp_path / "splits.json").read_text())
    assert [str(root / name) for name in saved["train"]] == [path for path, _ in shown(first)]
    assert saved["test"][0].startswith("a/")
    again = opened(root, folder=tmp_path)
    assert shown(again) == shown(first)
    assert first.test.labels.bincount().tolist() == [2, 4]
    (root / "a" / "new.png").write_bytes((root / "a" / "000.png").read_bytes())
    with pytest.raises(UserError, match="the data changed since"):
        opened(root, folder=tmp_path)


def test_resident_and_streamed_images_are_the_same(make_folder: MakeFolder) -> None:
    root = make_folder({"train/a": 4, "train/b": 4, "val/a": 2, "val/b": 2})
    resident, streamed = opened(root), opened(root, resident_bytes=0, workers=2)
    assert isinstance(resident.train, ResidentImages)
    assert isinstance(streamed.train, StreamedImages)
    assert shown(resident) == shown(streamed)
    assert all(level == sum(key(path).encode()) % 256 for path, level in shown(resident))
    assert "12 images of 3×12×12 take 1 MiB: decoded once and kept in memory" in resident.notices
    assert streamed.notices[-1] == (
        "12 images of 3×12×12 would take 1 MiB, more than 1 MiB: "
        "streamed from disk, decoded by 2 worker processes"
    )
    assert (resident.info.centre, streamed.info.centre) == (1, 0.875)


def key(path: str) -> str:
    """What conftest's make_folder derives the grey level from."""
    parts = Path(path).parts
    return f"{parts[-3]}/{parts[-2]}/{int(Path(path).stem)}"


def test_labels_belong_to_images(make_folder: MakeFolder) -> None:
    root = make_folder({"train/b": 3, "train/a": 5, "test/b": 2, "test/c": 1, "val/a": 1})
    data = opened(root, limit=4)
    for images in (data.train, data.test):
        for row in range(len(images)):
            name = Path(str(images.path(row))).parent.name
            assert data.info.classes[int(images.labels[row])] == name
    assert data.info.classes == ("a", "b")
    assert len(data.train) == 4


def test_test_images_steer_nothing(make_folder: MakeFolder) -> None:
    root = make_folder({"train/a": 4, "train/b": 4, "test/a": 2, "test/b": 2})
    before = opened(root)
    for path in (root / "test").rglob("*.png"):
        Image.new("L", (200, 100), 77).save(path)
    after = opened(root)
    assert after.info == before.info
    assert shown(after) == shown(before)
    assert torch.equal(after.half_a, before.half_a)


def test_photographs_of_every_kind(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for number, (mode, suffix) in enumerate(
        [(m, s) for m in ("L", "RGB", "RGBA", "P", "CMYK", "LA", "1", "I;16") for s in "ab"]
    ):
        size = (30 + 7 * number, 160 - 5 * number)
        image = Image.fromarray(draw.integers(0, 256, (*size, 3), dtype=np.uint8))
        if mode == "I;16":
            image = Image.fromarray(draw.integers(0, 65_536, size, dtype=np.uint16))
        folder = tmp_path / f"class {suffix}"
        folder.mkdir(exist_ok=True)
        form = "tif" if mode == "CMYK" else "png"
        (image if mode == "I;16" else image.convert(mode)).save(folder / f"{number}.{form}")
    data = opened(tmp_path)
    assert (data.info.channels, data.info.image_size) == (3, 64)
    assert len(data.train) + len(data.test) == 16
    assert opened(tmp_path, image_size=20).train.read(torch.tensor([0])).shape == (1, 3, 20, 20)


def test_a_grayscale_folder_has_one_channel(tmp_path: Path) -> None:
    for number in range(8):
        folder = tmp_path / "ab"[number % 2]
        folder.mkdir(exist_ok=True)
        Image.new("L", (16, 16), number).save(folder / f"{number}.png")
    assert opened(tmp_path).info.channels == 1


def test_corrupt_images(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder({"a": 8, "b": 8})
    broken = root / "b" / "003.png"
    broken.write_bytes(broken.read_bytes()[:45])
    with pytest.raises(UserError, match=r"cannot read the image '.*b/003\.png'.*--skip-corrupt"):
        opened(root, folder=tmp_path)
    assert not (tmp_path / "splits.json").exists(), "nothing is half-written"
    for resident_bytes in (10**9, 0):
        data = opened(root, skip_corrupt=True, resident_bytes=resident_bytes)
        assert len(data.train) + len(data.test) == 15
        assert any("left out" in n and "b/003.png" in n for n in data.notices)
    for path in (root / "b").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="without their corrupt images, of which one is"):
        opened(root, skip_corrupt=True)


def test_npz_of_thirteen_channels(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (20, 13, 16, 16), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", images=images, labels=np.arange(20) % 2)
    data = opened(tmp_path / "x.npz", resident_bytes=0)
    assert isinstance(data.train, ResidentImages), "arrays are in memory already"
    assert (data.info.channels, data.info.image_size) == (13, 16)
    assert len(data.info.mean) == 13


def test_datasets_from_python() -> None:
    train = TensorDataset(torch.rand(20, 3, 8, 8), torch.arange(20) % 4)
    test = TensorDataset(torch.rand(4, 3, 8, 8), torch.arange(4))
    data = opened((train, test))
    assert (len(data.train), len(data.test)) == (20, 4)
    assert data.train.read(torch.tensor([0])).dtype == torch.float32
    assert torch.equal(data.train.read(torch.tensor([3]))[0], train[3][0])
    assert len(opened(train).test) == 4
    assert data.where == "TensorDataset"


def test_settings_override_the_source() -> None:
    assert opened("digits", flip=True).info.flip
    assert opened("digits", image_size=12).info.image_size == 12
    assert len(opened("digits", test_fraction=0.5).test) == 898


def test_paths_and_names_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match=r"no data 'cifr10': did you mean cifar10\? Looked for a"):
        read_source("cifr10")
    with pytest.raises(UserError, match=rf"Looked for a file or folder at '{tmp_path}/none'"):
        read_source(tmp_path / "none")
    with pytest.raises(UserError, match=r"notes\.txt' is neither a \.npz nor a \.parquet nor"):
        read_source(str(tmp_path / "notes.txt"))
    for spec in ("a\0b", "x" * 5000, "line\nbreak"):
        with pytest.raises(UserError) as caught:
            read_source(spec)
        assert "\n" not in str(caught.value)


def test_a_folder_named_like_a_data_set(
    make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder({"a": 1, "b": 1})
    root.rename(root.parent / "digits")
    monkeypatch.chdir(root.parent)
    assert len(read_source("digits").train) == 1797
    assert len(read_source("./digits").train) == 2


def test_other_images_for_a_trained_network(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder({"b": 10, "a": 10, "c": 10})
    trained = opened(root, folder=tmp_path)
    again, said = open_test(root, trained.info, splits_folder=tmp_path)
    assert [again.path(row) for row in range(6)] == [trained.test.path(row) for row in range(6)]
    assert torch.equal(again.labels, trained.test.labels)
    assert "kept in memory" in said[-1]
    others = tmp_path / "others"
    for name in ("c", "d", "b"):
        (others / name).mkdir(parents=True)
        Image.new("L", (40, 30), 9).save(others / name / "x.png")
    images, said = open_test(others, trained.info)
    assert [trained.info.classes[label] for label in images.labels.tolist()] == ["b", "c"]
    assert images.read(torch.tensor([0])).shape == (1, 3, 12, 12), "as the network wants them"
    assert any("1 images left out" in notice and "'d'" in notice for notice in said)


def test_the_middle_that_a_network_was_trained_on(make_folder: MakeFolder) -> None:
    root = make_folder({"train/a": 4, "train/b": 4, "val/a": 2, "val/b": 2})
    trained = opened(root, resident_bytes=0)
    images, _ = open_test(root, trained.info)
    assert isinstance(images, ResidentImages)
    assert torch.equal(images.read(torch.arange(4)), trained.test.read(torch.arange(4)))


def test_one_of_several_processes_saves_the_split(tmp_path: Path) -> None:
    open_data("digits", DataSettings(), 0, splits_folder=tmp_path, save_split=False)
    assert not list(tmp_path.iterdir())
