"""How long a network takes for one image on this machine."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor

from dots.export.target import Logits

WARM_UP = 5
REPEATS = 30


def milliseconds(network: Logits, image: Tensor) -> float:
    """The median time of a call on images [B, C, H, W], on the CPU, with this process's threads."""
    seconds = []
    with torch.no_grad():
        for _ in range(WARM_UP + REPEATS):
            start = time.perf_counter()
            network(image)
            seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[WARM_UP:])
