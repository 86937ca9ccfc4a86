"""Forwards in training mode that leave the running statistics of batch norms alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def untouched_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norms of `module` normalise by their batch and do not record its statistics."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    saved = [norm.track_running_stats for norm in norms]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm, tracked in zip(norms, saved, strict=True):
            norm.track_running_stats = tracked
