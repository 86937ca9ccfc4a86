from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dots.common.errors import UserError
from dots.common.seeding import generator
from dots.data.sources.records import FileRecords
from dots.data.sources.source import Part
from dots.data.splits import Holdout, allocate, halves, limited, stratified


def part(counts: list[int]) -> Part:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    names = tuple(f"c{label}" for label in range(len(counts)))
    files = tuple(f"c{label}/{row}.png" for row, label in enumerate(labels.tolist()))
    return Part(FileRecords(Path("root"), files), labels, names)


counts = st.lists(st.integers(1, 40), min_size=2, max_size=8)


@settings(deadline=None)
@given(counts, st.floats(0.01, 0.99), st.integers(0, 1))
def test_allocation_is_proportional_and_within_bounds(
    counts: list[int], fraction: float, spare: int
) -> None:
    total = round(sum(counts) * fraction)
    shares = allocate(counts, total, spare=spare)
    least = sum(min(1, count - spare) for count in counts)
    most = sum(count - spare for count in counts)
    assert sum(shares) == min(max(total, least), most)
    for share, count in zip(shares, counts, strict=True):
        assert min(1, count - spare) <= share <= count - spare
    if all(1 <= int(count * fraction) < count - spare for count in counts):
        for share, count in zip(shares, counts, strict=True):
            assert abs(share - count * total / sum(counts)) < 1


def test_exact_shares() -> None:
    assert allocate([5000] * 10, 25_000) == [2500] * 10
    assert allocate([3, 3, 3], 2) == [1, 1, 1], "every class is tested"
    assert allocate([100, 1], 50) == [50, 0], "the only image of a class is kept"
    assert allocate([10, 10, 10], 4, spare=0) == [2, 1, 1]


def test_stratified_draws_at_random_but_by_seed() -> None:
    labels = part([30, 60]).labels
    masks = [stratified(labels, 30, generator(seed, "x")) for seed in (0, 0, 1)]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert labels[masks[0]].bincount().tolist() == [10, 20]


def test_halves() -> None:
    labels = part([10, 20, 1]).labels
    half_a, half_b = halves(labels, seed=0)
    assert sorted(torch.cat((half_a, half_b)).tolist()) == list(range(31))
    assert labels[half_a].bincount().tolist() == [5, 9, 1], "a single image trains the weights"
    assert labels[half_b].bincount(minlength=3).tolist() == [5, 11, 0]
    assert half_a.tolist() == sorted(half_a.tolist())


def test_halves_as_shares_and_limited() -> None:
    labels = part([400, 400]).labels
    half_a, half_b = halves(labels, seed=0, weight_fraction=0.1, arch_fraction=0.025)
    assert labels[half_a].bincount().tolist() == [40, 40]
    assert labels[half_b].bincount().tolist() == [10, 10]
    assert not set(half_a.tolist()) & set(half_b.tolist())
    half_a, half_b = halves(labels, seed=0, limit=100)
    assert labels[half_a].bincount().tolist() == [25, 25]
    assert labels[half_b].bincount().tolist() == [25, 25]
    half_a, half_b = halves(labels, seed=0, weight_fraction=0.5, arch_fraction=0.5)
    assert len(half_a) + len(half_b) == 800


def test_halves_that_would_be_empty() -> None:
    with pytest.raises(UserError, match="2 training images cannot be halved"):
        halves(part([1, 1]).labels, seed=0)


def test_a_limit_is_stratified() -> None:
    found = limited(part([100, 50]), 30, seed=0)
    assert found.labels.bincount().tolist() == [20, 10]
    assert limited(part([10, 10]), 20, seed=0).labels.tolist() == [0] * 10 + [1] * 10
    with pytest.raises(UserError, match=r"data\.limit = 3 leaves less than two images .* 4"):
        limited(part([10, 10]), 3, seed=0)


def choose(folder: Path | None, found: Part | None = None, **changes: Any) -> Holdout:
    facts = {"fraction": 0.2, "seed": 0, **changes}
    return Holdout.choose(found or part([10, 20]), folder=folder, name="things", **facts)


def test_a_split_is_kept_and_found_again(tmp_path: Path) -> None:
    first = choose(tmp_path)
    assert not (tmp_path / "splits.json").exists(), "nothing is written before all is well"
    first.save()
    saved = json.loads((tmp_path / "splits.json").read_text())
    assert [len(saved["train"]), len(saved["test"])] == [24, 6]
    assert saved["test"] == [first.test.records[row].key for row in range(6)]
    swapped = {**saved, "train": saved["test"], "test": saved["train"]}
    (tmp_path / "splits.json").write_text(json.dumps(swapped))
    assert torch.equal(choose(tmp_path).mask, ~first.mask), "the file decides, not the seed"


def test_all_images_of_the_two_parts() -> None:
    holdout = choose(None)
    holdout.save()
    keys = [p.records[r].key for p in (holdout.train, holdout.test) for r in range(len(p))]
    assert sorted(map(str, keys)) == sorted(part([10, 20]).records.files)  # type: ignore[attr-defined]
    assert holdout.test.labels.bincount().tolist() == [2, 4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "was made with seed = 0, not 1: use that, or another run directory"),
        ({"fraction": 0.3}, r"was made with test_fraction = 0\.2, not 0\.3"),
        ({"found": part([10, 19])}, r"data changed since .* 1 images are gone \('c1/29.png'\)"),
        ({"found": part([10, 21])}, r"data changed since .* 1 images are new \('c1/30.png'\)"),
    ],
)
def test_a_split_that_no_longer_fits(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    choose(tmp_path).save()
    with pytest.raises(UserError, match=message):
        choose(tmp_path, **changes)


def test_changed_labels_are_noticed(tmp_path: Path) -> None:
    choose(tmp_path).save()
    other = part([10, 20])
    changed = Part(other.records, other.labels.flip(0), other.names)
    with pytest.raises(UserError, match="the labels changed since"):
        choose(tmp_path, changed)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "is no split of version 1"),
        ('{"version": 2}', "is no split of version 1"),
        ('{"version": 1, "seed": 0, "test_fraction": 0.2}', "lacks the lists"),
        (
            '{"version": 1, "seed": 0, "test_fraction": 0.2, "train": ["a"], "test": ["a"]}',
            "names an image twice",
        ),
        (
            '{"version": 1, "seed": 0, "test_fraction": 0.2, "train": [[]], "test": []}',
            "names an image twice",
        ),
        ("nonsense", "is not JSON"),
    ],
)
def test_a_file_that_is_no_split(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "splits.json").write_text(text)
    with pytest.raises(UserError, match=message):
        choose(tmp_path)


def test_nothing_can_be_held_out() -> None:
    with pytest.raises(UserError, match="things: every class has a single image"):
        choose(None, part([1, 1]))
