from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from PIL import Image

from dots.common.errors import UserError
from dots.data.sources.folder import read_folder
from dots.data.sources.records import FileRecords
from dots.data.sources.source import Part

MakeFolder = Callable[[Mapping[str, int]], Path]


def files(part: Part) -> dict[str, list[str]]:
    """Class name -> the paths of its images."""
    found: dict[str, list[str]] = {name: [] for name in part.names}
    for row, label in enumerate(part.labels.tolist()):
        found[part.names[label]].append(str(part.records[row].key))
    return found


def test_flat(make_folder: MakeFolder) -> None:
    source = read_folder(make_folder({"dog": 2, "cat": 1, "cat/kittens": 2}))
    assert source.name == "images"
    assert source.classes == ("cat", "dog")
    assert source.test is None
    assert source.flip
    assert files(source.train) == {
        "cat": ["cat/000.png", "cat/kittens/000.png", "cat/kittens/001.png"],
        "dog": ["dog/000.png", "dog/001.png"],
    }


@pytest.mark.parametrize("train", ["train", "training", "Train"])
@pytest.mark.parametrize("test", ["test", "testing", "val", "valid", "validation", "eval"])
def test_parts_and_their_synonyms(make_folder: MakeFolder, train: str, test: str) -> None:
    root = make_folder({f"{train}/a": 2, f"{train}/b": 1, f"{test}/a": 1, f"{test}/b": 1})
    source = read_folder(root)
    assert source.classes == ("a", "b")
    assert len(source.train) == 3
    assert source.test is not None
    assert files(source.test) == {"a": [f"{test}/a/000.png"], "b": [f"{test}/b/000.png"]}
    said = any("validation part is the test set" in notice for notice in source.notices)
    assert said == (not test.startswith("test"))


def test_with_test_and_validation_the_validation_images_join_the_training(
    make_folder: MakeFolder,
) -> None:
    parts = {f"{p}/{c}": n for p, n in (("train", 3), ("val", 2), ("test", 1)) for c in "ab"}
    source = read_folder(make_folder(parts))
    assert [len(source.train), len(source.test or ())] == [10, 2]
    assert files(source.train)["b"][-2:] == ["val/b/000.png", "val/b/001.png"]
    assert source.notices == ("images: 4 validation images join the training images",)


def test_a_class_that_the_test_lacks_shifts_no_label(make_folder: MakeFolder) -> None:
    root = make_folder({"train/a": 2, "train/b": 2, "train/c": 2, "test/a": 1, "test/c": 2})
    source = read_folder(root)
    assert source.test is not None
    assert source.test.names == ("a", "b", "c")
    assert source.test.labels.tolist() == [0, 2, 2]
    assert "images: classes without test images: 'b'" in source.notices


def test_a_class_that_only_the_others_have_shifts_no_label(make_folder: MakeFolder) -> None:
    root = make_folder(
        {"train/b": 2, "train/d": 2, "test/a": 3, "test/b": 1, "test/d": 1, "val/c": 1, "val/d": 1}
    )
    source = read_folder(root)
    assert source.classes == ("b", "d")
    assert source.test is not None
    assert files(source.test) == {"b": ["test/b/000.png"], "d": ["test/d/000.png"]}
    assert source.train.labels.tolist() == [0, 0, 1, 1, 1]
    for key, count, name in (("test", 3, "a"), ("val", 1, "c")):
        assert (
            f"images: {key}: {count} images left out, of classes that the training part lacks: "
            f"{name!r}"
        ) in source.notices


def test_an_empty_class_folder_of_the_test_is_a_missing_class(make_folder: MakeFolder) -> None:
    root = make_folder({"train/a": 2, "train/b": 2, "test/a": 1, "test/b": 0})
    assert "images: classes without test images: 'b'" in read_folder(root).notices


def test_a_class_may_be_called_train(make_folder: MakeFolder) -> None:
    source = read_folder(make_folder({"bus": 2, "train": 2, "test": 1}))
    assert source.classes == ("bus", "test", "train")
    assert source.test is None


def test_clutter_is_ignored(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 2, "b": 2, ".hidden": 1, "__MACOSX": 1})
    for path in (".DS_Store", "a/.DS_Store", "a/Thumbs.db", "b/desktop.ini", "README.txt"):
        (root / path).write_text("clutter")
    os.mkfifo(root / "a" / "pipe.png")  # opening it would wait for ever
    (root / "a" / "broken.png").symlink_to(root / "nowhere.png")
    source = read_folder(root)
    assert source.classes == ("a", "b")
    assert len(source.train) == 4


def test_links_are_followed_but_not_in_circles(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder({"a": 2, "b": 2})
    (root / "a" / "again").symlink_to(root / "a")
    shutil.move(str(root / "b"), tmp_path / "elsewhere")
    (root / "b").symlink_to(tmp_path / "elsewhere")
    assert len(read_folder(root).train) == 4


def test_an_image_without_a_suffix_counts(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 1, "b": 1})
    Image.new("RGB", (4, 4)).save(root / "a" / "0001", "PNG")
    assert len(read_folder(root).train) == 3


def test_a_file_that_is_no_image_is_named(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 2, "b": 2})
    (root / "b" / "no\ntes.txt").write_text("hello")
    with pytest.raises(UserError, match=r"b/no\\ntes\.txt': it is no image") as caught:
        read_folder(root)
    assert "\n" not in str(caught.value)
    source = read_folder(root, skip_corrupt=True)
    assert len(source.train) == 4
    assert "notes" not in source.notices[0]
    assert "left out" in source.notices[0]


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({}, "holds no folder: expected images in one sub-folder per class"),
        ({"": 3}, "holds 3 images and no folder: expected images in one sub-folder"),
        ({"a": 3}, "all training images are of one class \\('a'\\); at least two"),
        ({"a": 3, "b": 0}, "images/b' holds no images: fill it or remove it"),
        ({"train/a": 3, "train/b": 0, "val/b": 1}, "train/b' holds no images"),
        ({"test/a": 1, "test/b": 1}, "has a folder 'test' but none called 'train'"),
        ({"train/a": 1, "training/a": 1}, "both 'train' and 'training'"),
        ({"train/a": 1, "train/b": 1, "test/c": 1}, "no image is of a class of the training"),
    ],
)
def test_what_is_wrong_is_said(
    make_folder: MakeFolder, tmp_path: Path, folders: Mapping[str, int], message: str
) -> None:
    (tmp_path / "images").mkdir()
    make_folder(folders)
    with pytest.raises(UserError, match=message):
        read_folder(tmp_path / "images")


def test_images_beside_class_folders_are_noticed(make_folder: MakeFolder) -> None:
    source = read_folder(make_folder({"": 2, "a": 1, "b": 1}))
    assert "2 images beside the class folders are ignored" in source.notices[0]


def test_other_folders_beside_the_parts_are_noticed(make_folder: MakeFolder) -> None:
    source = read_folder(make_folder({"train/a": 1, "train/b": 1, "unlabelled": 4, "test": 2}))
    assert "other folders are ignored: 'test', 'unlabelled'" in source.notices[0]


def test_a_folder_that_cannot_be_read(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 1, "b": 1})

    def refuse(path: object) -> list[str]:
        raise PermissionError(13, "Permission denied")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.listdir", refuse)
        with pytest.raises(UserError, match=r"cannot read the folder .*images': Permission"):
            read_folder(root)


def test_records_tell_path_and_key(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 1, "b": 1})
    records = read_folder(root).train.records
    assert isinstance(records, FileRecords)
    assert records[1].path == str(root / "b" / "000.png")
    assert records[1].key == "b/000.png"
    assert records[1].where == repr(str(root / "b" / "000.png"))


def test_labels_are_int64(make_folder: MakeFolder) -> None:
    assert read_folder(make_folder({"a": 1, "b": 1})).train.labels.dtype == torch.int64
