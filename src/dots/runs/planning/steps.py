"""Steps of every stage on throw-away networks and random images: to see what they cost.

Nothing of a run is touched: networks are new, random numbers come from a state of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import cast

import torch
from torch import Tensor

from dots.common.seeding import isolated_random_state, seed_for, seed_step
from dots.data import Batches, DataInfo
from dots.data.batch import Batch
from dots.nas.plan import Plan, search_context, stage_shape
from dots.nas.random_cell import random_genotype
from dots.nas.topology_search import TopologyStage, new_topology
from dots.networks.derived import DerivedNetwork
from dots.networks.supernet import Supernet
from dots.space.retain import retain
from dots.training.engine import Engine
from dots.training.processes import Processes
from dots.training.stage import TrainingStage

STAGES = ("operations", "topology", "train")


@dataclass(frozen=True)
class Rehearsal:
    """Steps of one stage: in its leading weight-only epochs (None: it has none), and later.

    Each takes a number of images and does all of a step: forward, backward, optimisers.
    """

    stage: str
    early: Callable[[int], None] | None
    late: Callable[[int], None]


def alone(device: torch.device, accumulate: int = 1, precision: str = "32") -> Engine:
    """An engine that takes gradients on this process only, however many there are."""
    return Engine(Processes.single(device), accumulate=accumulate, precision=precision)


def rehearse(
    plan: Plan, info: DataInfo, engine: Engine, stages: Sequence[str] = STAGES
) -> Iterator[Rehearsal]:
    """One stage after the other; the network of each is gone when the next is asked for."""
    makers = {"operations": _operations, "topology": _topology, "train": _train}
    for stage in stages:
        yield makers[stage](plan, info, engine)


def _batch(count: int, info: DataInfo, device: torch.device) -> Batch:
    images = torch.randn(count, info.channels, info.image_size, info.image_size, device=device)
    labels = torch.arange(count, device=device) % len(info.classes)
    return Batch(images.contiguous(memory_format=torch.channels_last), labels, count)


def _isolated(step: Callable[[int], object]) -> Callable[[int], None]:
    def take(images: int) -> None:
        with isolated_random_state():
            seed_step("rehearsal")
            step(images)

    return take


def _operations(plan: Plan, info: DataInfo, engine: Engine) -> Rehearsal:
    settings = plan.recipe.operations
    context = search_context(plan, stage_shape(settings, info), engine, info.image_size)
    strategy = plan.strategy(context, plan.method)
    with isolated_random_state():
        seed_step("rehearsal")
        strategy.begin_epoch(0)
    last = settings.epochs - 1

    def step(epoch: int, images: int) -> None:
        strategy.set_epoch(epoch)
        batch = _batch(images, info, engine.device)
        held_out = None
        if strategy.wants_architecture_batch(epoch):
            held_out = _batch(images, info, engine.device)
        strategy.step(epoch, batch, held_out)

    early = None
    if 0 < settings.weight_epochs < settings.epochs:
        early = _isolated(lambda images: step(0, images))
    return Rehearsal("operations", early, _isolated(lambda images: step(last, images)))


def _topology(plan: Plan, info: DataInfo, engine: Engine) -> Rehearsal:
    recipe, space = plan.recipe, plan.space
    settings = recipe.topology
    draw = torch.Generator().manual_seed(seed_for("rehearsal", "scores"))
    count = (len(space.cell.edges), len(space.operations))
    scores = {kind: torch.rand(count, generator=draw).tolist() for kind in space.kinds}
    candidates = retain(space, scores, recipe.retain)
    with isolated_random_state():
        net = Supernet(
            space,
            stage_shape(settings, info),
            candidates,
            fast=recipe.fast_kernels,
            low_memory=recipe.low_memory,
        )
    topology = new_topology(space, settings)
    stage = TopologyStage(
        space, candidates, topology, engine.place_network(net), settings, engine, no_batches()
    )
    last = settings.epochs - 1

    def step(epoch: int, images: int) -> None:
        stage.set_epoch(epoch)
        batch = _batch(images, info, engine.device)
        learns = settings.held_out and epoch >= settings.weight_epochs
        stage.step(epoch, 0, (batch, _batch(images, info, engine.device) if learns else None))

    early = None
    if 0 < settings.weight_epochs < settings.epochs:
        early = _isolated(lambda images: step(0, images))
    return Rehearsal("topology", early, _isolated(lambda images: step(last, images)))


def _train(plan: Plan, info: DataInfo, engine: Engine) -> Rehearsal:
    recipe = plan.recipe
    settings = recipe.train
    genotype = random_genotype(plan.space, recipe.topology.edges, recipe.seed)
    with isolated_random_state():
        network = DerivedNetwork(
            genotype,
            stage_shape(settings, info),
            auxiliary=settings.auxiliary > 0,
            fast=recipe.fast_kernels,
        )
    stage = TrainingStage(engine.place_network(network), settings, engine, no_batches())
    stage.set_epoch(settings.epochs - 1)

    def step(images: int) -> None:
        stage.step(0, 0, (_batch(images, info, engine.device), None))

    return Rehearsal("train", None, _isolated(step))


def no_batches() -> Batches:
    """What a stage asks of batches before it is driven: how many there are."""
    return cast("Batches", SimpleNamespace(steps=1))


def settle(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def image_count(halves: tuple[Tensor, Tensor], *, one_level: bool) -> int:
    """Images of an epoch of the operation search."""
    return len(halves[0]) + len(halves[1]) if one_level else len(halves[0])
