"""The stages of a plan put together: for a run, and for trial steps of it."""

from __future__ import annotations

from typing import Literal, Protocol

from dots.common.seeding import isolated_random_state, seed_step
from dots.data import DataInfo
from dots.data.batch import BatchSource
from dots.nas.budget.penalty import CostPenalty
from dots.nas.operation_search import OperationStage
from dots.nas.plan import Plan, stage_shape
from dots.nas.strategies.base import SearchContext
from dots.nas.topology_search import TopologyStage, new_topology
from dots.networks.specification import Network, Trainee
from dots.networks.supernet import Supernet
from dots.recipe.settings import StageSettings, TrainSettings
from dots.space.retain import retained_groups
from dots.space.search_space import Candidates
from dots.training.engine import Engine
from dots.training.stage import TrainingStage

Images = Literal["half A", "half B", "both halves", "all"]
"""Which of the training images; the halves are those of the search."""


class BatchMaker(Protocol):
    """Makes batches of those images, as the settings of a stage ask, for one `stream` of draws."""

    def __call__(self, stream: str, images: Images, settings: StageSettings) -> BatchSource: ...


def operation_images(plan: Plan) -> Images:
    """Which images w learns from in the operation search."""
    return "both halves" if plan.strategy.one_level else "half A"


def topology_images(plan: Plan) -> Images:
    """Which images w learns from in the topology search."""
    return "half A" if plan.recipe.topology.held_out else "both halves"


def operation_stage(
    plan: Plan,
    info: DataInfo,
    engine: Engine,
    batches: BatchMaker,
    penalty: CostPenalty | None = None,
) -> OperationStage:
    """Stage 1: the strategy learns from half A and half B, a one-level one from all at once."""
    recipe, settings = plan.recipe, plan.recipe.operations
    context = SearchContext(
        space=plan.space,
        shape=stage_shape(settings, info),
        settings=settings,
        engine=engine,
        seed=recipe.seed,
        groups=retained_groups(plan.space, recipe.retain),
        image_size=info.image_size,
        fast=recipe.fast_kernels,
        low_memory=recipe.low_memory,
        penalty=penalty,
    )
    strategy = plan.strategy(context, plan.method)
    held_out = None
    if not strategy.one_level:
        held_out = batches("operations-architecture", "half B", settings)
    own = batches("operations", operation_images(plan), settings)
    return OperationStage(strategy, settings.epochs, own, held_out)


def topology_stage(
    plan: Plan,
    info: DataInfo,
    engine: Engine,
    candidates: Candidates,
    batches: BatchMaker,
    penalty: CostPenalty | None = None,
) -> TopologyStage:
    """Stage 2: β, α' and w of a new supernet of these candidates learn from all images."""
    recipe, settings = plan.recipe, plan.recipe.topology
    with isolated_random_state():
        seed_step(recipe.seed, "topology", "weights")
        supernet = Supernet(
            plan.space,
            stage_shape(settings, info),
            candidates,
            fast=recipe.fast_kernels,
            low_memory=recipe.low_memory,
        )
    held_out, alone = None, None
    if settings.held_out:
        held_out = batches("topology-held-out", "half B", settings)
    if settings.weight_half:
        alone = batches("topology-weights", "half A", settings)
    return TopologyStage(
        plan.space,
        candidates,
        new_topology(plan.space, settings),
        engine.place_network(supernet),
        settings,
        engine,
        batches("topology", topology_images(plan), settings),
        held_out,
        penalty,
        alone,
    )


def new_network(plan: Plan, trainee: Trainee, name: str) -> Network:
    """The network of a training with new weights, drawn from the seed and the stage's name."""
    recipe = plan.recipe
    with isolated_random_state():
        seed_step(recipe.seed, name, "weights")
        return trainee.build(auxiliary=recipe.train.auxiliary > 0, fast=recipe.fast_kernels)


def training_stage(
    settings: TrainSettings, engine: Engine, network: Network, batches: BatchMaker, name: str
) -> TrainingStage:
    """Stage 4: the network learns from all training images."""
    own = batches("train", "all", settings)
    return TrainingStage(engine.place_network(network), settings, engine, own, name)
