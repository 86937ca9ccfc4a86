"""The library's own steps, as a run takes them, for the benchmarks.

A step is forward, backward, clipping and the optimisers, on images that are there already.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dots import zoo
from dots.data import DataInfo
from dots.data.batch import Batch
from dots.nas.plan import make_plan
from dots.nas.strategies.base import GradientSearch, SearchContext
from dots.nas.topology_search import TopologyStage, new_topology
from dots.networks.body import Shape
from dots.networks.derived import DerivedNetwork
from dots.networks.supernet import Supernet
from dots.recipe import Recipe, build_recipe
from dots.runs.planning.trial_steps import RandomBatches, single_engine
from dots.space.retain import retained_groups
from dots.space.search_space import darts_space
from dots.training.engine import Engine
from dots.training.stage import TrainingStage

CPU = torch.device("cpu")
CLASSES = 10
PUBLISHED = "DOTS_C10"
INFO = DataInfo("noise", tuple("0123456789"), 3, 32, (0.0,) * 3, (1.0,) * 3, flip=False)


@dataclass(frozen=True)
class Sizes:
    """A network and its batch, as in the paper but for what is asked otherwise."""

    channels: int
    cells: int
    batch: int
    size: int
    nodes: int = 4

    @classmethod
    def asked(cls, options: argparse.Namespace) -> Sizes:
        """What the options of `add_sizes` say."""
        return cls(options.channels, options.cells, options.batch, options.size)

    def __str__(self) -> str:
        return (
            f"{self.channels} channels, {self.cells} cells, batch {self.batch}, "
            f"{self.size}×{self.size}, float32"
        )

    @property
    def shape(self) -> Shape:
        return Shape(self.cells, self.channels, 3, CLASSES)

    def images(self) -> tuple[Tensor, Tensor]:
        """Noise, and labels."""
        draw = torch.Generator().manual_seed(0)
        images = torch.randn(self.batch, 3, self.size, self.size, generator=draw)
        return images, torch.randint(CLASSES, (self.batch,), generator=draw)

    def ours(self, device: torch.device = CPU) -> Batch:
        """The same as the library's data give them: channels-last."""
        images, labels = (tensor.to(device) for tensor in self.images())
        return Batch(images.contiguous(memory_format=torch.channels_last), labels, self.batch)


def recipe(*overrides: str) -> Recipe:
    """The paper's settings on CIFAR."""
    return build_recipe("paper-cifar", overrides=overrides)


def operation_search(sizes: Sizes, *overrides: str, engine: Engine | None = None) -> GradientSearch:
    """First-order DARTS as a run would build it."""
    settings = recipe(f"nodes={sizes.nodes}", *overrides)
    plan = make_plan(settings)
    context = SearchContext(
        space=plan.space,
        shape=sizes.shape,
        settings=settings.operations,
        engine=engine or single_engine(CPU, settings.accumulate, settings.precision),
        seed=settings.seed,
        groups=retained_groups(plan.space, settings.retain),
        image_size=sizes.size,
        fast=settings.fast_kernels,
        low_memory=settings.low_memory,
    )
    strategy = plan.strategy(context, plan.method)
    assert isinstance(strategy, GradientSearch)
    strategy.set_epoch(0)
    return strategy


def topology_search(
    sizes: Sizes, retained: Sequence[str], engine: Engine | None = None
) -> TopologyStage:
    """The topology stage at its start, with the same operations on all edges."""
    space, settings = darts_space(sizes.nodes), recipe().topology
    candidates = dict.fromkeys(space.kinds, (tuple(retained),) * len(space.cell.edges))
    topology, net = new_topology(space, settings), Supernet(space, sizes.shape, candidates)
    engine, batches = engine or single_engine(CPU), RandomBatches(INFO, CPU)
    net = engine.place_network(net)
    stage = TopologyStage(space, candidates, topology, net, settings, engine, batches)
    stage.begin_epoch(0)
    stage.set_epoch(0)
    return stage


HALFWAY = 300
"""An epoch of the 600, which decides the share of dropped paths."""


def training(sizes: Sizes, engine: Engine | None = None) -> TrainingStage:
    """The training of a published cell, half way."""
    network = DerivedNetwork(zoo.load(PUBLISHED).genotype, sizes.shape, auxiliary=True)
    engine, batches = engine or single_engine(CPU), RandomBatches(INFO, CPU)
    stage = TrainingStage(engine.place_network(network), recipe().train, engine, batches)
    stage.set_epoch(HALFWAY)
    return stage
