from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dots.common.errors import UserError
from dots.data import open_data, open_test, read_source
from dots.data.decode import Geometry, ImageError, pixels
from dots.data.sources.parquet import parquet_files, read_parquet
from dots.data.sources.table import Columns
from dots.recipe import DataSettings
from helpers.shared_data import shared_data


def png(level: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4), level, dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def write(
    path: Path,
    labels: list[Any],
    names: list[str] | None = None,
    *,
    image: str = "image",
    label: str = "label",
    bare: bool = False,
    rows_per_group: int = 2,
) -> None:
    """A file as the hub has it; the grey level of a row is its number."""
    values: list[Any] = [png(row) for row in range(len(labels))]
    if not bare:
        values = [{"bytes": value, "path": f"{row}.png"} for row, value in enumerate(values)]
    table = pa.table({image: values, label: labels})
    if names is not None:
        info = {"info": {"features": {label: {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=rows_per_group)


def test_cifar10_as_it_lies_on_the_hub() -> None:
    source = read_parquet(shared_data("cifar10"))
    assert source.name == "cifar10"
    assert source.classes[:3] == ("airplane", "automobile", "bird")
    assert source.test is not None
    assert (len(source.train), len(source.test)) == (50_000, 10_000)
    assert source.test.labels.bincount().tolist() == [1000] * 10
    for row in (0, 999, 1000, 49_999, 3):
        opened = source.train.records[row].open()
        assert isinstance(opened, Image.Image)
        assert pixels(opened, Geometry(32, 3), "x").shape == (32, 32, 3)
    assert source.train.records[1000].where.endswith("train.parquet'")


@pytest.mark.parametrize("image", ["img", "image"])
@pytest.mark.parametrize("label", ["label", "labels", "fine_label"])
@pytest.mark.parametrize("bare", [False, True])
def test_columns(tmp_path: Path, image: str, label: str, bare: bool) -> None:
    path = tmp_path / "birds.parquet"
    write(path, [0, 1, 1, 0, 1], image=image, label=label, bare=bare)
    source = read_parquet(path)
    assert source.name == "birds"
    assert source.classes == ("0", "1")
    assert source.test is None
    for row in (3, 0, 4):
        opened = source.train.records[row].open()
        assert isinstance(opened, Image.Image)
        assert (pixels(opened, Geometry(4, 1), "x") == row).all()


def test_shards_and_parts_in_a_sub_folder(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write(folder / "train-00000-of-00002.parquet", [0, 1], ["a", "b", "c"])
    write(folder / "train-00001-of-00002.parquet", [2, 2], ["a", "b", "c"])
    write(folder / "validation-00000-of-00001.parquet", [1], ["a", "b", "c"])
    write(folder / "test-00000-of-00001.parquet", [-1, -1], ["a", "b", "c"])
    assert len(parquet_files(tmp_path)) == 4
    source = read_parquet(tmp_path)
    assert source.classes == ("a", "b", "c")
    assert source.train.labels.tolist() == [0, 1, 2, 2]
    assert source.test is not None
    assert source.test.labels.tolist() == [1]
    assert any("2 images without a label" in notice for notice in source.notices)


def test_test_names_in_another_order_shift_no_label(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [0, 1, 2], ["a", "b", "c"])
    write(tmp_path / "test.parquet", [0, 1, 2], ["c", "a", "b"])
    source = read_parquet(tmp_path)
    assert source.test is not None
    assert source.test.labels.tolist() == [2, 0, 1]


def test_a_part_without_names_takes_those_of_the_training_part(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [0, 1, 2], ["a", "b", "c"])
    write(tmp_path / "test.parquet", [2, 1])
    source = read_parquet(tmp_path)
    assert source.test is not None
    assert source.classes == ("a", "b", "c")
    assert source.test.labels.tolist() == [2, 1]


def test_labels_as_text(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", ["dog", "cat", None, "dog"])
    source = read_parquet(tmp_path)
    assert source.classes == ("cat", "dog")
    assert source.train.labels.tolist() == [1, 0, 1]


def test_records_cross_a_process_border(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [0, 1, 0])
    records = pickle.loads(pickle.dumps(read_parquet(tmp_path).train.records))
    opened = records[2].open()
    assert isinstance(opened, Image.Image)
    assert len(records) == 3


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    path.write_bytes(b"not parquet")
    with pytest.raises(UserError, match=r"cannot read .*train\.parquet' as parquet"):
        read_parquet(path)
    write(path, [0, 1], label="category")
    with pytest.raises(UserError, match=r"no label column .*; it has image, category"):
        read_parquet(path)
    write(path, [0, 1], image="picture")
    with pytest.raises(UserError, match="no image column \\(img or image\\)"):
        read_parquet(path)
    write(path, [0.5, 1.0])
    with pytest.raises(UserError, match="'label' holds neither integers nor text"):
        read_parquet(path)
    write(path, [0, 2], ["a", "b"])
    with pytest.raises(UserError, match="the label 2 has no name among the 2"):
        read_parquet(path)
    write(path, [0, 2**40])
    with pytest.raises(UserError, match="too large for a class number"):
        read_parquet(path)
    path.unlink()
    write(tmp_path / "test.parquet", [0, 1])
    with pytest.raises(UserError, match="no parquet file whose name starts with 'train'"):
        read_parquet(tmp_path)


def test_a_row_without_bytes_is_named(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    table = pa.table({"image": [{"bytes": None, "path": "../a.png"}] * 2, "label": [0, 1]})
    pq.write_table(table, path)
    records = read_parquet(path).train.records
    with pytest.raises(ImageError, match=r"in row 1 of .*: the row holds no image bytes"):
        records[1].open()


def two_labels(folder: Path, *columns: str) -> Path:
    """A training and a test file whose rows have a fine and a coarse label."""
    folder.mkdir(exist_ok=True)
    for part, count in (("train", 8), ("test", 4)):
        rows = {"image": [{"bytes": png(row)} for row in range(count)]}
        named = {
            "fine_label": [["cat", "dog", "oak", "fir"][row % 4] for row in range(count)],
            "coarse_label": [["animal", "tree"][row % 4 // 2] for row in range(count)],
        }
        path = folder / f"{part}.parquet"
        pq.write_table(pa.table(rows | {column: named[column] for column in columns}), path)
    return folder


def test_which_of_several_label_columns_was_taken_is_said_and_can_be_chosen(tmp_path: Path) -> None:
    folder = two_labels(tmp_path, "coarse_label", "fine_label")
    source = read_parquet(folder)
    assert source.classes == ("cat", "dog", "fir", "oak")
    assert source.notices == (
        "labels are taken from the column 'fine_label'; --set data.label=coarse_label takes "
        "another ('coarse_label')",
    )
    chosen = read_source(folder, columns=Columns("coarse_label"))
    assert chosen.classes == ("animal", "tree")
    assert "from the column 'coarse_label'" in chosen.notices[0]


def test_a_single_label_column_of_another_name_can_be_named(tmp_path: Path) -> None:
    folder = two_labels(tmp_path, "coarse_label")
    with pytest.raises(UserError, match="no label column"):
        read_source(folder)
    assert read_source(folder, columns=Columns("coarse_label")).notices == ()
    with pytest.raises(UserError, match=r"no label column \(fine\); it has image, coarse_label"):
        read_source(folder, columns=Columns("fine"))


def test_the_column_is_a_setting_of_the_recipe_and_of_its_test(tmp_path: Path) -> None:
    folder = two_labels(tmp_path / "a", "coarse_label", "fine_label")
    settings = DataSettings(label="coarse_label")
    data = open_data(folder, settings, 0, splits_folder=None)
    assert data.info.classes == ("animal", "tree")
    images, _ = open_test(folder, data.info, columns=Columns("coarse_label"))
    assert images.labels.tolist() == [0, 0, 1, 1]
    others = tmp_path / "pictures"
    for name in data.info.classes:
        (others / name).mkdir(parents=True)
        (others / name / "1.png").write_bytes(png(9))
    assert len(open_test(others, data.info, columns=Columns("coarse_label"))[0]) == 2
    with pytest.raises(
        UserError, match=r"data\.label=coarse_label: only tables of file names, par"
    ):
        open_data(others, settings, 0, splits_folder=None)
