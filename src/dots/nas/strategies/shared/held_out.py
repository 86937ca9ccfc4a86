"""How well a supernet classifies held-out images under some mixture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from dots.data.batch import Batch
from dots.nas.strategies.shared.unrolled import untouched_statistics
from dots.networks.supernet import Mixture, Supernet
from dots.training.engine import Engine


@torch.no_grad()
def loss_and_accuracy(
    supernet: Supernet, mixtures: Mapping[str, Mixture], batches: Iterable[Batch], engine: Engine
) -> tuple[float, float]:
    """The mean loss and the share of images classified correctly, over all processes.

    Batch norms normalise by the batch and record nothing: a mixture that no step has seen has
    other statistics than those on record. Waits for the device once.
    """
    totals = torch.zeros(3, device=engine.device)
    supernet.train()
    with untouched_statistics(supernet):
        for batch in batches:
            with engine.autocast():
                logits = supernet(engine.input(batch.images), mixtures)
            count, right = len(batch.labels), (logits.argmax(1) == batch.labels).sum()
            loss = engine.cross_entropy(logits, batch.labels) * count
            totals += torch.stack([loss.float(), right.float(), right.new_tensor(count).float()])
    loss_sum, correct, images = engine.processes.sum(totals).tolist()
    return loss_sum / images, correct / images
