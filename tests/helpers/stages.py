"""Small stages of both searches, taken some steps, for tests of several packages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from dots.common.seeding import seed_step
from dots.data.batch import Batch
from dots.nas.strategies import STRATEGIES
from dots.nas.strategies.base import GradientSearch
from dots.nas.topology import make_topology
from dots.nas.topology_search import TopologyStage
from dots.networks.supernet import Supernet
from dots.recipe.settings import TopologySettings
from dots.space.search_space import Candidates, SearchSpace, darts_space
from helpers import contracts, searches, small

SPACE = darts_space(nodes=3)


def candidates_of(space: SearchSpace, names: tuple[str, ...]) -> Candidates:
    """The same candidates on every edge."""
    return dict.fromkeys(space.kinds, (names,) * len(space.cell.edges))


def topology_settings(**changes: Any) -> TopologySettings:
    """Settings of a small topology search."""
    values: dict[str, Any] = {
        "epochs": 2, "weight_epochs": 0, "cells": 3, "channels": 4, "batch": 6,
        "lr": 0.05, "lr_min": 0.0, "arch_lr": 0.05, "arch_betas": (0.9, 0.999),
    }  # fmt: skip
    return TopologySettings(**(values | changes))


SMALL, MEDIUM = darts_space(nodes=1), darts_space(nodes=2)
NAMES = dict.fromkeys(MEDIUM.kinds, (("skip_connect", "sep_conv_3x3"),) * 5)
GRADIENT = [name for name, cls in STRATEGIES.items() if issubclass(cls, GradientSearch)]


def batches(count: int, seed: int) -> Iterator[Batch]:
    """Images whose first channel tells the class, among noise."""
    draw = torch.Generator().manual_seed(seed)
    for _ in range(count):
        labels = torch.randint(5, (8,), generator=draw)
        images = torch.randn(8, 3, 8, 8, generator=draw)
        images[:, 0] += labels[:, None, None] - 2.0
        yield Batch(images, labels, 8)


def searched(
    name: str, steps: int, seed: int = 0, *, space: SearchSpace = MEDIUM, **settings: Any
) -> GradientSearch:
    """After some steps of the last epoch, in which α learns."""
    search = searches.search(
        STRATEGIES[name], space, method=contracts.QUICK.get(name), seed=seed, **settings
    )
    assert isinstance(search, GradientSearch)
    for epoch in range(1, 4):
        search.begin_epoch(epoch)
    search.set_epoch(3)
    halves = zip(batches(steps, seed), batches(steps, seed + 100), strict=True)
    for step, (batch, held_out) in enumerate(halves):
        seed_step(0, "operations", 3, step)
        search.step(3, batch, held_out if search.wants_architecture_batch(3) else None)
    return search


def annealed(
    steps: int, seed: int = 0, *, fast: bool = True, precision: str = "32", **changes: Any
) -> TopologyStage:
    """After some steps of the topology search."""
    topology = make_topology(
        MEDIUM, parameterisation="combinations", edges="pairs", normalise=True, threshold=0.5
    )
    torch.manual_seed(seed)
    net = Supernet(MEDIUM, small.SHAPE, NAMES, fast=fast)
    engine = small.engine(precision=precision)
    own: Any = small.FewBatches(steps)
    settings = topology_settings(**({"epochs": 1, "lr": 0.025} | changes))
    stage = TopologyStage(MEDIUM, NAMES, topology, engine.place(net), settings, engine, own)
    stage.begin_epoch(0)
    stage.set_epoch(0)
    for step, batch in enumerate(batches(steps, seed)):
        seed_step(0, "topology", 0, step)
        stage.step(0, step, (batch, None))
    return stage


def agree_in_a_run(distance: Callable[[int], float], most: float) -> None:
    """`distance(seed)` is at most 1e-5 for one of ten seeds, and `most` for those before it.

    A wrong kernel differs in every run; rounding in those where it decides the side of a ReLU.
    """
    for seed in range(10):
        found = distance(seed)
        assert found <= most
        if found <= 1e-5:
            return
    raise AssertionError("the results differ in each of ten runs")


def apart(first: list[nn.Parameter], second: list[nn.Parameter]) -> float:
    """The largest difference."""
    pairs = zip(first, second, strict=True)
    return max(float((a.detach() - b.detach()).abs().max()) for a, b in pairs)
