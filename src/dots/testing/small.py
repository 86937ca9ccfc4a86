"""A small size of networks, an engine on one CPU, and batches of random images."""

from __future__ import annotations

import torch

from dots.data.batch import Batch
from dots.networks.body import Shape
from dots.training.engine import Engine
from dots.training.processes import Processes

SHAPE = Shape(cells=3, channels=4, image_channels=3, classes=5)


def engine(**settings: object) -> Engine:
    """An engine on one CPU."""
    return Engine(Processes.single(torch.device("cpu")), **settings)  # type: ignore[arg-type]


def batch(images: int = 6, size: int = 8, classes: int = 5, seed: int = 0) -> Batch:
    """Random images with random labels."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(images, 3, size, size, generator=generator)
    labels = torch.randint(classes, (images,), generator=generator)
    return Batch(pixels, labels, images)
