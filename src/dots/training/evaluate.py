"""Testing a network: accuracy, top-5, balanced accuracy, loss, confusion, worst mistakes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dots.data.batch import Batch

WORST = 12
"""How many of the worst mistakes are kept."""


@dataclass(frozen=True)
class Mistake:
    """A test image that was classified wrongly; `index` counts within the test set."""

    index: int
    label: int
    predicted: int
    confidence: float


@dataclass(frozen=True)
class TestResult:
    """What a test found. Accuracies are fractions; top-5 is None for five classes or fewer.

    `confusion` [classes, classes] counts images, rows are true classes. `mistakes` are the
    most confident ones, worst first.
    """

    __test__ = False  # no test case, whatever its name

    accuracy: float
    top5: float | None
    balanced_accuracy: float
    loss: float
    images: int
    confusion: list[list[int]]
    mistakes: tuple[Mistake, ...]

    def summary(self) -> dict[str, Any]:
        """The fields of result.json."""
        return {
            "test_accuracy": self.accuracy,
            "test_top5": self.top5,
            "balanced_accuracy": self.balanced_accuracy,
            "test_loss": self.loss,
            "test_images": self.images,
        }


@torch.no_grad()
def evaluate(
    network: nn.Module,
    batches: Iterable[Batch],
    classes: int,
    *,
    gather: Callable[[Tensor], Tensor] = lambda table: table,
) -> TestResult:
    """Classify every image once, in evaluation mode.

    `gather` makes one table [images, columns] in the order of the test set of the tables
    [n, columns] of all processes, each in the order of its batches.
    """
    network.eval()
    rows = []
    for batch in batches:
        logits = network(batch.images).float()
        losses = F.cross_entropy(logits, batch.labels, reduction="none")
        target = logits.gather(1, batch.labels[:, None])
        rank = (logits > target).sum(1)
        confidence, predicted = logits.softmax(1).max(1)
        columns = [batch.labels, predicted, rank, losses, confidence]
        rows.append(torch.stack([column.double().cpu() for column in columns], dim=1))
    table = gather(torch.cat(rows))
    return _summarise(table, classes)


def _summarise(table: Tensor, classes: int) -> TestResult:
    labels, predicted = table[:, 0].long(), table[:, 1].long()
    correct = labels == predicted
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    ones = torch.ones_like(labels)
    confusion.index_put_((labels, predicted), ones, accumulate=True)
    present = confusion.sum(1) > 0
    recall = confusion.diagonal()[present] / confusion.sum(1)[present]
    return TestResult(
        accuracy=float(correct.double().mean()),
        top5=float((table[:, 2] < 5).double().mean()) if classes > 5 else None,
        balanced_accuracy=float(recall.double().mean()),
        loss=float(table[:, 3].mean()),
        images=len(table),
        confusion=confusion.tolist(),
        mistakes=_worst_mistakes(table, correct),
    )


def _worst_mistakes(table: Tensor, correct: Tensor) -> tuple[Mistake, ...]:
    wrong = (~correct).nonzero().flatten()
    order = table[wrong, 4].argsort(descending=True, stable=True)[:WORST]
    return tuple(
        Mistake(int(i), int(table[i, 0]), int(table[i, 1]), float(table[i, 4]))
        for i in wrong[order]
    )
