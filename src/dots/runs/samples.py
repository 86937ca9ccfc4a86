"""Pictures for the report: a batch as the network sees it, and the worst mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from dots.common.records import Picture, Samples
from dots.data import Batches, ImageData, pngs
from dots.training.evaluate import Mistake

if TYPE_CHECKING:
    from dots.runs.session import Session

SHOWN = 16


def sample_pictures(
    batches: Batches, data: ImageData, mistakes: Sequence[Mistake], session: Session
) -> Samples:
    """The content of samples.json."""
    names = data.info.classes
    first = batches.batch(0, 0)
    augmented = [
        Picture(png=png, label=names[label])
        for png, label in zip(
            pngs(first.images[:SHOWN], data.info), first.labels[:SHOWN].tolist(), strict=True
        )
    ]
    return Samples(augmented=augmented, mistakes=_mistakes(data, mistakes, session))


def _mistakes(data: ImageData, mistakes: Sequence[Mistake], session: Session) -> list[Picture]:
    if not mistakes:
        return []
    names = data.info.classes
    rows = torch.tensor([mistake.index for mistake in mistakes])
    batch = Batches(  # all of them here: the other processes do not take part
        data.test,
        rows,
        len(rows),
        info=data.info,
        augment=None,
        shuffle=False,
        seed=session.recipe.seed,
        stream="mistakes",
        device=session.processes.device,
    ).batch(0, 0)
    return [
        Picture(
            png=png,
            label=names[mistake.label],
            predicted=names[mistake.predicted],
            confidence=mistake.confidence,
            index=mistake.index,
        )
        for png, mistake in zip(pngs(batch.images, data.info), mistakes, strict=True)
    ]
