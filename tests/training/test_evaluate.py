"""The test of a network, against scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from sklearn import metrics
from torch import nn

from dots.data.batch import Batch
from dots.training.evaluate import WORST, evaluate


def _batches(images: int = 37, classes: int = 7, step: int = 5) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(images, classes, generator=generator)
    labels = torch.randint(classes - 1, (images,), generator=generator)  # the last class is absent
    for start in range(0, images, step):
        part = slice(start, start + step)
        yield Batch(logits[part], labels[part], len(labels[part]))


def test_all_figures_agree_with_scikit_learn() -> None:
    logits = torch.cat([b.images for b in _batches()])
    labels = torch.cat([b.labels for b in _batches()])
    result = evaluate(nn.Identity(), _batches(), 7)
    predicted = logits.argmax(1)
    assert result.images == 37
    assert result.accuracy == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert result.confusion == metrics.confusion_matrix(labels, predicted, labels=range(7)).tolist()
    assert result.loss == pytest.approx(
        metrics.log_loss(labels, logits.double().softmax(1), labels=range(7)), abs=1e-5
    )
    assert result.top5 == pytest.approx(
        metrics.top_k_accuracy_score(labels, logits, k=5, labels=range(7))
    )
    recalls = metrics.recall_score(labels, predicted, labels=range(6), average=None)
    assert result.balanced_accuracy == pytest.approx(recalls.mean())


def test_top5_is_null_for_five_classes_or_fewer() -> None:
    assert evaluate(nn.Identity(), _batches(classes=5), 5).top5 is None


def test_the_worst_mistakes_come_first() -> None:
    result = evaluate(nn.Identity(), _batches(), 7)
    confidences = [m.confidence for m in result.mistakes]
    wrong = result.images - round(result.accuracy * result.images)
    assert len(confidences) == min(wrong, WORST)
    assert confidences == sorted(confidences, reverse=True)
    labels = torch.cat([b.labels for b in _batches()])
    assert all(int(labels[m.index]) == m.label != m.predicted for m in result.mistakes)


def test_a_perfect_network_makes_no_mistakes() -> None:
    batch = Batch(torch.eye(3) * 9, torch.arange(3), 3)
    result = evaluate(nn.Identity(), [batch], 3)
    assert (result.accuracy, result.balanced_accuracy, result.mistakes) == (1.0, 1.0, ())
