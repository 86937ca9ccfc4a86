"""dots check: everything that is wrong with a folder is found and named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dots.cli.app import run
from dots.common.errors import UserError
from dots.data.check import check
from dots.runs.planning.forecast import suggested_preset

SIZE = 32


def _photo(seed: int, size: tuple[int, int] = (SIZE, SIZE)) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 255, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Class a: 8 training images, b: 2; 2 test images of each."""
    root = tmp_path / "photos"
    for part, label, count in (
        ("train", "a", 8),
        ("train", "b", 2),
        ("test", "a", 2),
        ("test", "b", 2),
    ):
        place = root / part / label
        place.mkdir(parents=True)
        for number in range(count):
            seed = 1000 * (part == "test") + 100 * (label == "b") + number
            _photo(seed).save(place / f"{number}.png")
    return root


def test_a_sound_folder(folder: Path) -> None:
    facts = check(folder)
    assert facts.sound
    train = facts.parts["train"]
    assert train.images == 10
    assert train.classes == {"a": 8, "b": 2}
    assert train.sizes == {"width": [32, 32, 32], "height": [32, 32, 32]}
    assert train.modes == {"RGB": 10}
    assert facts.imbalance == 4
    assert (facts.image_size, facts.channels) == (32, 3)
    assert any("imbalanced (4.0 : 1)" in line for line in facts.suggestions)
    assert (facts.leaks.count, facts.alike.count, facts.copies.count) == (0, 0, 0)


def test_mean_and_deviation_are_those_of_all_pixels(folder: Path) -> None:
    pixels = np.concatenate(
        [
            np.asarray(Image.open(path)).reshape(-1, 3)
            for path in sorted((folder / "train").rglob("*.png"))
        ]
    )
    train = check(folder).parts["train"]
    np.testing.assert_allclose(train.mean, (pixels / 255).mean(0), atol=1e-4)
    np.testing.assert_allclose(train.std, (pixels / 255).std(0), atol=1e-4)


def test_a_test_image_that_occurs_in_training_is_named(folder: Path) -> None:
    _photo(3).save(folder / "test/b/copied.bmp")  # other name, other format, same pixels
    facts = check(folder)
    assert facts.leaks.count == 1
    assert "copied.bmp" in facts.leaks.examples[0][0]
    assert "train/a/3.png" in facts.leaks.examples[0][1]
    assert not facts.sound


def test_a_test_image_that_looks_like_a_training_image(folder: Path) -> None:
    _photo(3).resize((48, 48)).save(folder / "test/b/again.jpg", quality=80)
    facts = check(folder)
    assert (facts.leaks.count, facts.alike.count) == (0, 1)
    assert facts.sound


def test_copies_and_contradictions_in_training(folder: Path) -> None:
    _photo(3).save(folder / "train/a/x.png")
    _photo(4).save(folder / "train/b/y.png")
    facts = check(folder)
    assert (facts.copies.count, facts.contradictions.count) == (2, 1)
    assert "train/a/4.png" in str(facts.contradictions.examples)


def test_corrupt_files_are_named_by_path_and_counted_once(folder: Path) -> None:
    whole = (folder / "train/a/1.png").read_bytes()
    (folder / "train/a/1.png").write_bytes(whole[: len(whole) // 2])
    (folder / "test/b/1.png").write_text("no picture")
    facts = check(folder)
    assert [p["where"] for p in facts.parts["train"].corrupt] == [
        repr(str(folder / "train/a/1.png"))
    ]
    assert facts.parts["train"].images == 9
    assert "1.png" in facts.parts["test"].corrupt[0]["where"]
    assert not facts.sound
    assert any("--skip-corrupt" in line for line in facts.suggestions)


def test_modes_and_sizes(folder: Path) -> None:
    _photo(50, (20, 60)).convert("L").save(folder / "train/a/gray.png")
    _photo(51, (40, 16)).convert("RGBA").save(folder / "train/a/alpha.png")
    train = check(folder).parts["train"]
    assert train.modes == {"RGB": 10, "L": 1, "RGBA": 1}
    assert train.sizes == {"width": [20, 32, 40], "height": [16, 32, 60]}


def test_large_images_are_shrunk_and_that_is_said(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(2):
            _photo(ord(label) + number, (200, 160)).save(tmp_path / label / f"{number}.jpg")
    facts = check(tmp_path)
    assert facts.image_size == 64
    assert any("from 160 to 64 pixels" in line for line in facts.suggestions)
    assert list(facts.parts) == ["train"]


def test_nothing_that_can_be_read(folder: Path) -> None:
    for path in (folder / "train").rglob("*.png"):
        path.write_text("x")
    with pytest.raises(UserError, match=r"none of its training images can be read|no images"):
        check(folder)


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["check", str(folder), "--no-estimate"]
    assert run(words) == 0
    shown = capsys.readouterr().out
    assert "train: 10 images" in shown
    assert "32 pixels a side" in shown
    _photo(3).save(folder / "test/b/copied.png")
    assert run([*words, "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert content["leaks"]["count"] == 1
    assert content["parts"]["test"]["images"] == 5
    assert run(["check", "nowhere"]) == 2


@pytest.mark.slow
def test_the_forecast(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["check", str(folder), "--preset", "tiny", "--device", "cpu", "--json"]
    assert run([*words, "--image-size", "8"]) == 0
    cost = json.loads(capsys.readouterr().out)["forecast"]
    assert [part["name"] for part in cost["stages"]][:3] == ["operations", "topology", "train"]
    assert cost["image_bytes"] == 14 * 3 * 8 * 8
    assert cost["step_bytes"] > 2**26


def test_the_suggested_preset_depends_on_the_device(folder: Path) -> None:
    import torch

    facts = check(folder)
    assert suggested_preset(facts, torch.device("cpu")) == "quick"
    assert suggested_preset(facts, torch.device("cuda")) == "small"
