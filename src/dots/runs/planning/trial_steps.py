"""Steps of every stage on throw-away networks and random images: to see what they cost.

Nothing of a run is touched: networks are new, random numbers come from a state of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from dots.common.seeding import isolated_random_state, seed_for, seed_step
from dots.data import DataInfo
from dots.data.batch import Batch
from dots.nas.plan import Plan, stage_shape, trained_form
from dots.nas.random_cell import random_genotype
from dots.networks.specification import CellNetworkSpec
from dots.recipe.settings import SearchSettings
from dots.runs import builders
from dots.space.retain import retain
from dots.training.engine import Engine
from dots.training.graphs import Graphs
from dots.training.loop import Stage
from dots.training.processes import Processes

STAGES = ("operations", "topology", "train")


@dataclass(frozen=True)
class TrialSteps:
    """Steps of one stage: in its leading weight-only epochs (None: it has none), and later.

    Each takes a number of images and does all of a step: forward, backward, optimisers.
    """

    stage: str
    early: Callable[[int], None] | None
    late: Callable[[int], None]


class RandomBatches:
    """One batch an epoch, of `size` random images."""

    steps = 1

    def __init__(self, info: DataInfo, device: torch.device) -> None:
        self.info = info
        self.device = device
        self.size = 1

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batch."""
        side, count = self.info.image_size, self.size
        images = torch.randn(count, self.info.channels, side, side, device=self.device)
        labels = torch.arange(count, device=self.device) % len(self.info.classes)
        yield Batch(images.contiguous(memory_format=torch.channels_last), labels, count)


def single_engine(
    device: torch.device, accumulate: int = 1, precision: str = "32", graphs: Graphs | None = None
) -> Engine:
    """An engine that takes gradients on this process only, however many there are."""
    processes = Processes.single(device)
    return Engine(processes, accumulate=accumulate, precision=precision, graphs=graphs)


def trial_steps(
    plan: Plan, info: DataInfo, engine: Engine, stages: Sequence[str] = STAGES
) -> Iterator[TrialSteps]:
    """One stage after the other; the network of each is gone when the next is asked for."""
    for name in stages:
        yield _trial(plan, info, engine, name)


def _trial(plan: Plan, info: DataInfo, engine: Engine, name: str) -> TrialSteps:
    batches = RandomBatches(info, engine.device)
    settings = getattr(plan.recipe, name)
    with isolated_random_state():
        seed_step("trial")
        stage = _stage(plan, info, engine, name, batches)
        if name == "operations":  # what begins with the others waits for the device
            stage.begin_epoch(0)

    entered: list[int] = []

    def steps_of(epoch: int) -> Callable[[int], None]:
        def take(images: int) -> None:
            batches.size = images
            with isolated_random_state():
                seed_step("trial")
                if entered[-1:] != [epoch]:  # else what was captured would be forgotten
                    stage.set_epoch(epoch)
                    entered.append(epoch)
                stage.step(epoch, 0, next(stage.batches(epoch, 0)))

        return take

    alone = settings.weight_epochs if isinstance(settings, SearchSettings) else 0
    early = steps_of(0) if 0 < alone < settings.epochs else None
    return TrialSteps(name, early, steps_of(settings.epochs - 1))


def _stage(plan: Plan, info: DataInfo, engine: Engine, name: str, batches: RandomBatches) -> Stage:
    recipe, space = plan.recipe, plan.space
    if name == "operations":
        return builders.operation_stage(plan, info, engine, lambda *_: batches)
    if name == "topology":
        draw = torch.Generator().manual_seed(seed_for("trial", "scores"))
        count = (len(space.cell.edges), len(space.operations))
        scores = {kind: torch.rand(count, generator=draw).tolist() for kind in space.kinds}
        candidates = retain(space, scores, recipe.retain)
        return builders.topology_stage(plan, info, engine, candidates, lambda *_: batches)
    cell = trained_form(recipe, random_genotype(space, recipe.topology.edges, recipe.seed))
    network = builders.new_network(
        plan, CellNetworkSpec(cell, stage_shape(recipe.train, info)), name
    )
    return builders.training_stage(recipe.train, engine, network, lambda *_: batches, name)


def settle(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
