"""Data sets by hub name: through the real library, on local files."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dots.common.errors import UserError
from dots.data import open_data, read_source
from dots.data.sources.hub import HubRecords, is_hub_name
from dots.data.sources.read import remembered
from dots.data.sources.table import Columns
from dots.recipe import DataSettings

datasets = pytest.importorskip("datasets", reason="the extra 'datasets' is not installed")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def _png(value: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Parquet files as the library writes them: 12 training and 4 test images."""
    folder = tmp_path / "animals"
    folder.mkdir()
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    for part, count in (("train", 12), ("test", 4)):
        rows = {
            "image": [{"bytes": _png(10 * n), "path": None} for n in range(count)],
            "label": [n % 2 for n in range(count)],
        }
        datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / f"{part}.parquet")
    return folder


def test_a_data_set_by_name(saved: Path) -> None:
    source = read_source(f"hf:{saved}")
    assert source.classes == ("cat", "dog")
    assert source.test is not None
    assert (len(source.train), len(source.test)) == (12, 4)
    assert isinstance(source.train.records, HubRecords)
    data = open_data(f"hf:{saved}", DataSettings(), 0, splits_folder=None)
    assert data.train.read(torch.tensor([3])).flatten()[0] == 30
    assert data.train.labels[:4].tolist() == [0, 1, 0, 1]


def test_a_name_is_remembered_as_it_is() -> None:
    assert is_hub_name("hf:owner/name")
    assert remembered("hf:owner/name") == "hf:owner/name"


def test_images_that_are_none_are_named(saved: Path) -> None:
    split = datasets.Dataset.from_dict({"image": [{"bytes": b"no", "path": None}], "label": [0]})
    with pytest.raises(UserError, match=r"in row 0 of 'x'.*no image"):
        HubRecords(split, "image", "x")[0].open()


def test_what_is_not_there(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(UserError, match=r"cannot load 'hf:.*nowhere'"):
        read_source(f"hf:{tmp_path}/nowhere", download=False)
    (saved / "train.parquet").unlink()
    with pytest.raises(UserError, match="has no part 'train'"):
        read_source(f"hf:{saved}")


def test_columns_that_lack_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    datasets.Dataset.from_dict({"text": ["a", "b"]}).to_parquet(folder / "train.parquet")
    with pytest.raises(UserError, match="no image column; it has text"):
        read_source(f"hf:{folder}")


def test_without_the_library_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'dots-nas\[datasets\]'"):
        read_source("hf:owner/name")


def test_a_bare_hub_name_gets_a_hint() -> None:
    with pytest.raises(UserError, match="write hf:owner/name"):
        read_source("owner/name")


def test_the_label_column_can_be_chosen(tmp_path: Path) -> None:
    rows = {
        "image": [{"bytes": _png(10 * n), "path": None} for n in range(4)],
        "fine_label": [0, 1, 2, 3],
        "coarse_label": ["animal", "animal", "tree", "tree"],
    }
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "fine_label": datasets.ClassLabel(names=["cat", "dog", "oak", "fir"]),
            "coarse_label": datasets.Value("string"),
        }
    )
    (tmp_path / "two").mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "two/train.parquet")
    source = read_source(f"hf:{tmp_path}/two")
    assert source.classes == ("cat", "dog", "oak", "fir")
    assert "from the column 'fine_label'" in source.notices[0]
    chosen = read_source(f"hf:{tmp_path}/two", columns=Columns("coarse_label"))
    assert chosen.classes == ("animal", "tree")
    with pytest.raises(UserError, match="has no label column 'colour'; it has image"):
        read_source(f"hf:{tmp_path}/two", columns=Columns("colour"))
