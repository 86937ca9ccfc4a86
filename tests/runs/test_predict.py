from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from dots.common.errors import UserError
from dots.data.info import DataInfo
from dots.runs.predict import Prediction, as_json, csv_lines, image_files, predict
from helpers.exported_run import SIZE, info


class Brightness:
    """Takes dark images for the first class, bright ones for the second."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    @property
    def info(self) -> DataInfo:
        """Of two classes among ten."""
        return info()

    def logits(self, images: Tensor) -> Tensor:
        """Two large logits, the others small."""
        self.batches.append(len(images))
        assert images.shape[1:] == (3, SIZE, SIZE)
        bright = images.mean(dim=(1, 2, 3))
        return torch.stack([-bright, bright, *[bright * 0 - 9] * 8], dim=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures in a tree, dark and bright, and a file that is none."""
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name, colour in (("b.PNG", 250), ("a.jpg", 5), ("deep/c.webp", 240)):
        Image.new("RGB", (20, 30), (colour,) * 3).save(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    return tmp_path / "in"


def test_folders_give_their_images_in_order(folder: Path) -> None:
    found = [file.relative_to(folder).as_posix() for file in image_files([folder])]
    assert found == ["a.jpg", "b.PNG", "deep/c.webp"]


def test_a_named_file_may_be_called_anything(folder: Path) -> None:
    assert image_files([folder / "notes.txt"]) == [folder / "notes.txt"]


@pytest.mark.parametrize("where", ["nowhere", "empty"])
def test_what_is_not_there_is_named(tmp_path: Path, where: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=where):
        image_files([tmp_path / where])


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_batches_give_the_same_predictions(folder: Path, batch: int) -> None:
    classifier = Brightness()
    found = list(predict(classifier, image_files([folder]), top=2, batch=batch))
    assert [prediction.classes[0][0] for prediction in found] == ["zero", "one", "one"]
    assert max(classifier.batches) == min(batch, 3)
    assert sum(classifier.batches) == 3


def test_predictions_are_probabilities_best_first(folder: Path) -> None:
    for prediction in predict(Brightness(), image_files([folder]), top=99):
        probabilities = [p for _, p in prediction.classes]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1, abs=1e-6)
        assert len(probabilities) == 10


def test_a_broken_image_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match=r"notes\.txt"):
        list(predict(Brightness(), [folder / "notes.txt"]))


PREDICTIONS = [Prediction('a, "b".png', (("two; or <2>", 0.75), ('thr"ee', 0.25)))]


def test_json_and_csv_can_be_read_back() -> None:
    (value,) = json.loads(as_json(PREDICTIONS))
    assert value["image"] == 'a, "b".png'
    assert value["classes"][1] == {"name": 'thr"ee', "probability": 0.25}
    head, row = csv.reader(csv_lines(iter(PREDICTIONS), 2))
    assert head == ["image", "class_1", "probability_1", "class_2", "probability_2"]
    assert row == ['a, "b".png', "two; or <2>", "0.750000", 'thr"ee', "0.250000"]


def test_a_line_for_people() -> None:
    assert str(PREDICTIONS[0]) == 'a, "b".png: two; or <2> 75.0 %, thr"ee 25.0 %'
