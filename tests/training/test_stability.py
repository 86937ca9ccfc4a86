"""The recipes of the small presets train any legal cell: none stays at chance, on real digits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from dots.data import Augmentation, Batches, ImageData
from dots.data.open import open_data
from dots.nas.random_cell import random_genotype
from dots.networks.body import Shape
from dots.networks.derived import DerivedNetwork
from dots.recipe import preset
from dots.recipe.settings import DataSettings
from dots.recipe.shares import with_epochs
from dots.runs.progress import Silent
from dots.runs.restarts import chance, unlearned
from dots.space.genotype import Cell, Edge, Genotype
from dots.space.search_space import darts_space
from dots.training.loop import Loop
from dots.training.processes import Processes
from dots.training.stage import TrainingStage
from helpers import small
from helpers.journals import Memory

EPOCHS = 4
"""The whole schedule passes in them: its peak is reached after a step or two of warm-up."""


def deepest(operation: str) -> Genotype:
    """Every node takes the two before it."""
    return _everywhere(lambda node: (Edge(operation, node), Edge(operation, node + 1)))


def widest(operation: str) -> Genotype:
    """Every node takes the cell's two inputs."""
    return _everywhere(lambda node: (Edge(operation, 0), Edge(operation, 1)))


def _everywhere(edges: Callable[[int], tuple[Edge, Edge]]) -> Genotype:
    cell = Cell(tuple(edges(node) for node in range(4)), (2, 3, 4, 5))
    return Genotype({"normal": cell, "reduce": cell})


WORST = {
    "all max pooling": deepest("max_pool_3x3"),
    "all average pooling": deepest("avg_pool_3x3"),
    "all skips": widest("skip_connect"),
    "a chain of skips": deepest("skip_connect"),
    "deepest": deepest("sep_conv_5x5"),
    "widest": widest("sep_conv_5x5"),
}
RANDOM = {f"random {seed}": random_genotype(darts_space(), "pairs", seed) for seed in range(20)}


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return open_data("digits", DataSettings(), 0, splits_folder=None, save_split=False)


def failure(
    digits: ImageData, genotype: Genotype, name: str, *, images: int, lr: float | None = None
) -> str:
    """Why the network of a cell is at chance after a few epochs of a preset's training, or ""."""
    settings = with_epochs(preset(name).train, EPOCHS)
    settings = settings.model_copy(update={"lr": settings.lr if lr is None else lr})
    info, device = digits.info, torch.device("cpu")
    shape = Shape(settings.cells, settings.channels, info.channels, len(info.classes))
    augment = Augmentation(
        crop_padding=1, resized_crop=False, flip=info.flip, colour=None, cutout=0
    )  # fmt: skip
    batches = Batches(
        digits.train, torch.arange(images), settings.batch, info=info, augment=augment,
        shuffle=True, seed=0, stream="train", device=device,
    )  # fmt: skip
    torch.manual_seed(0)
    network = DerivedNetwork(genotype, shape)
    journal = Memory()
    loop = Loop(0, Processes.single(device), journal, Silent(), lambda: None)
    loop.run(TrainingStage(network, settings, small.engine(), batches))
    labels = digits.train.labels[:images]
    by = chance(labels, len(info.classes), smoothing=settings.label_smoothing)
    return unlearned(journal.rows, images, by)


@pytest.mark.parametrize("cell", ["all max pooling", "all skips", "deepest"])
def test_the_worst_cells_learn(digits: ImageData, cell: str) -> None:
    assert failure(digits, WORST[cell], "tiny", images=480) == ""


def test_at_an_absurd_rate_they_do_not(digits: ImageData) -> None:
    """The test above can fail."""
    assert failure(digits, WORST["all max pooling"], "tiny", images=480, lr=50.0)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "images"), [("tiny", 832), ("quick", 832), ("small", 1437)])
@pytest.mark.parametrize("cell", [*WORST, *RANDOM])
def test_every_cell_learns_by_every_recipe(
    digits: ImageData, cell: str, name: str, images: int
) -> None:
    """In fifty steps, the fewest of which a training is judged."""
    assert failure(digits, (WORST | RANDOM)[cell], name, images=images) == ""
