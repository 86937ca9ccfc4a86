"""Chance: what constant predictions reach, and what is no better."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from dots.runs.restarts import Chance, chance, unlearned


@given(
    counts=st.lists(st.integers(1, 30), min_size=2, max_size=6),
    smoothing=st.sampled_from([0.0, 0.1]),
    weighted=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_no_constant_prediction_has_a_lower_loss(
    counts: list[int], smoothing: float, weighted: bool, seed: int
) -> None:
    classes = len(counts)
    draw = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(classes), torch.tensor(counts))
    weights = torch.rand(classes, generator=draw, dtype=torch.float64) + 0.1 if weighted else None
    by = chance(labels, classes, smoothing=smoothing, weights=weights)
    for _ in range(5):
        logits = torch.randn(classes, generator=draw, dtype=torch.float64).expand(len(labels), -1)
        losses = F.cross_entropy(
            logits, labels, weight=weights, label_smoothing=smoothing, reduction="none"
        )
        assert float(losses.mean()) >= by.loss - 1e-12
    # and one has it
    scale = torch.ones(classes).double() if weights is None else weights
    shares = torch.tensor(counts).double() / sum(counts)
    best = (scale * ((1 - smoothing) * shares + smoothing / classes)).log().expand(len(labels), -1)
    losses = F.cross_entropy(
        best, labels, weight=weights, label_smoothing=smoothing, reduction="none"
    )
    assert float(losses.mean()) == pytest.approx(by.loss, rel=1e-9)


def test_balanced_classes_have_the_known_chance() -> None:
    by = chance(torch.arange(10).repeat(7), 10)
    assert by.accuracy == pytest.approx(0.1)
    assert by.loss == pytest.approx(math.log(10))
    assert chance(torch.arange(10), 10, auxiliary=0.4).loss == pytest.approx(1.4 * math.log(10))
    assert chance(torch.arange(2), 2, weights=torch.ones(2)).accuracy is None


def _rows(*pairs: tuple[float, float]) -> list[dict[str, float]]:
    return [{"accuracy": accuracy, "loss": loss} for accuracy, loss in pairs]


TEN = Chance(0.1, math.log(10))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (_rows((0.1, 14.2), (0.1, 2.303), (0.1019, 2.3026), (0.1, 2.3027)), "accuracy, 10.00%"),
        (_rows((0.1, 2.4), (0.15, 2.5), (0.16, 2.4), (0.16, 2.31)), "loss, 2.310"),
        (_rows((0.1, 2.3), (0.2, 2.2), (0.3, 2.0), (0.5, 1.5)), ""),
        (_rows((0.5, 1.5), (0.5, 1.5), (0.5, 1.5), (0.1, 2.4)), "accuracy"),  # it fell back
        ([], ""),
    ],
)
def test_the_last_quarter_of_the_epochs_is_judged(rows: list[dict[str, float]], words: str) -> None:
    reason = unlearned(rows, 2000, TEN)
    assert bool(reason) == bool(words)
    assert words in reason


def test_few_images_need_more_than_luck() -> None:
    """12 of 100 correct is chance; 12 % of 10,000 is not."""
    assert unlearned(_rows((0.12, 2.2)), 100, TEN)
    assert not unlearned(_rows((0.12, 2.2)), 10_000, TEN)


def test_the_commonest_class_is_chance() -> None:
    labels = torch.tensor([0] * 90 + [1] * 10)
    assert unlearned(_rows((0.9, 0.30)), 1000, chance(labels, 2))
    assert not unlearned(_rows((0.97, 0.1)), 1000, chance(labels, 2))
