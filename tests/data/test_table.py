"""Tables of file names and labels: columns, given splits, groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dots.common.errors import UserError
from dots.data import ImageData, open_data
from dots.data.splits import grouped
from dots.recipe.settings import DataSettings

Table = Mapping[str, Sequence[str]]


def write_images(folder: Path, files: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(files):
        Image.new("RGB", (8, 8), (number % 256, 0, 0)).save(folder / file)


def write_csv(path: Path, table: Table, delimiter: str = ",") -> Path:
    rows = [list(table), *zip(*table.values(), strict=True)]
    path.write_text("\n".join(delimiter.join(row) for row in rows) + "\n")
    return path


def pets(count: int = 12) -> dict[str, list[str]]:
    """Images of two classes by turns, two of each owner."""
    return {
        "file_name": [f"{k}.png" for k in range(count)],
        "label": [("cat", "dog")[k % 2] for k in range(count)],
        "owner": [f"owner {k // 2}" for k in range(count)],
    }


def opened(path: Path, skip_corrupt: bool = False, **columns: str) -> ImageData:
    made = DataSettings(**columns)
    return open_data(path, made, 0, splits_folder=None, skip_corrupt=skip_corrupt)


def owners(data: ImageData, table: Table) -> tuple[set[str], set[str], set[str]]:
    """Those of half A, half B and the test images."""
    known = dict(zip(table["file_name"], table["owner"], strict=True))

    def of(images: object, rows: Sequence[int]) -> set[str]:
        return {known[Path(images.path(row)).name] for row in rows}  # type: ignore[attr-defined]

    return (
        of(data.train, data.half_a.tolist()),
        of(data.train, data.half_b.tolist()),
        of(data.test, range(len(data.test))),
    )


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_files_and_labels_are_read_by_row(tmp_path: Path, delimiter: str) -> None:
    table = pets()
    write_images(tmp_path, table["file_name"])
    data = opened(write_csv(tmp_path / "pets.csv", table, delimiter))
    assert data.info.classes == ("cat", "dog")
    for part in (data.train, data.test):
        for row in range(len(part)):
            number = int(Path(part.path(row) or "").stem)
            assert part.labels[row] == number % 2
            assert part.read(torch.tensor([row]))[0, 0, 0, 0] == number


def test_parquet_without_images_is_a_table_too(tmp_path: Path) -> None:
    table = pets()
    write_images(tmp_path / "images", table["file_name"])
    pq.write_table(pa.table(dict(table)), tmp_path / "pets.parquet")
    data = opened(tmp_path / "pets.parquet", images=str(tmp_path / "images"))
    assert len(data.train) + len(data.test) == 12


def test_numbers_are_classes_in_their_order(tmp_path: Path) -> None:
    table = {"path": [f"{k}.png" for k in range(72)], "class": [str(k % 12) for k in range(72)]}
    write_images(tmp_path, table["path"])
    data = opened(write_csv(tmp_path / "a.csv", table))
    assert data.info.classes == tuple(map(str, range(12)))


def test_the_split_may_be_a_column(tmp_path: Path) -> None:
    table = pets()
    table["part"] = ["train"] * 6 + ["val"] * 2 + ["Testing"] * 4
    write_images(tmp_path, table["file_name"])
    data = opened(write_csv(tmp_path / "a.csv", table), split="part")
    names = {Path(data.test.path(row) or "").name for row in range(len(data.test))}
    assert names == {"8.png", "9.png", "10.png", "11.png"}
    assert len(data.train) == 8


def test_no_group_is_on_two_sides(tmp_path: Path) -> None:
    table = pets(40)
    write_images(tmp_path, table["file_name"])
    data = opened(write_csv(tmp_path / "a.csv", table), group="owner")
    half_a, half_b, test = owners(data, table)
    assert not half_a & half_b
    assert not (half_a | half_b) & test
    assert len(half_a | half_b | test) == 20
    assert test
    apart = opened(write_csv(tmp_path / "a.csv", table))
    assert owners(apart, table)[0] & owners(apart, table)[1]  # without groups they are


@given(st.integers(2, 30), st.sampled_from([0.1, 0.2, 0.5, 0.75]), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_groups_are_whole_and_classes_on_both_sides(count: int, fraction: float, seed: int) -> None:
    labels = torch.arange(4 * count) % 2
    groups = torch.arange(4 * count) // 4
    mask = grouped(labels, groups, fraction, seed)
    for group in range(count):
        assert len(mask[groups == group].unique()) == 1
    for side in (mask, ~mask):
        assert labels[side].unique().tolist() == [0, 1]
    assert mask.equal(grouped(labels, groups, fraction, seed))


@pytest.mark.parametrize(
    ("change", "columns", "words"),
    [
        ({"file_name": ["gone.png"]}, {}, "1 images of .* are not in .*'gone.png'.*--images"),
        ({"file_name": ["1.png"]}, {}, "names '1.png' twice"),
        ({}, {"label": "kind"}, "no column 'kind'; it has file_name, label, owner"),
        ({}, {"file": "kind"}, "no column 'kind'"),
        ({}, {"group": "kind"}, "no column 'kind'"),
        ({"label": ["dog"] * 12}, {}, "all training images are of one class"),
        ({"label": [""] * 12}, {}, "gives no image a label"),
        ({"owner": ["me"] * 12}, {"group": "owner"}, "1 groups cannot be split"),
        ({"owner": [""]}, {"group": "owner"}, "1 images have no group: '0.png'"),
        ({"split": ["train"] * 11 + ["later"]}, {}, "'11.png' is 'later': write train"),
        ({"split": ["test"] * 12}, {}, "'train' of no image"),
        (
            {"split": ["train"] * 11 + ["test"]},
            {"group": "owner"},
            "'owner 5' is on both sides of the split",
        ),
        ({}, {"images": "nowhere"}, "no folder 'nowhere'"),
    ],
)
def test_what_is_wrong_is_one_line(
    tmp_path: Path, change: dict[str, list[str]], columns: dict[str, str], words: str
) -> None:
    table = pets()
    write_images(tmp_path, table["file_name"])
    for name, values in change.items():
        table[name] = [*values, *table.get(name, [])[len(values) :]]
    path = write_csv(tmp_path / "pets.csv", table)
    with pytest.raises(UserError, match=words) as caught:
        opened(path, **columns)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"a,b\n1,2,3\n", "line 2: 3 cells, but 2 columns"),
        (b"a,a\n1,2\n", "two columns 'a'"),
        (b"\xff\xfe\x00", "no text in UTF-8"),
        (b"name,b\nx,y\n", "known to hold the files; it has name, b: name it by --set data.file"),
    ],
)
def test_a_broken_table_is_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words):
        opened(path)


def test_missing_images_can_be_left_out(tmp_path: Path) -> None:
    table = pets()
    write_images(tmp_path, table["file_name"][1:])
    data = opened(write_csv(tmp_path / "a.csv", table), skip_corrupt=True)
    assert len(data.train) + len(data.test) == 11
    assert any("'0.png'" in notice for notice in data.notices)


def test_columns_of_a_table_mean_nothing_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.group=owner: only tables"):
        opened(Path("digits"), group="owner")
