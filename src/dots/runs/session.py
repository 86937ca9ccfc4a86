"""What all stages of a run share, put together once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

from torch import Tensor

from dots.common.errors import UserError
from dots.common.records import LATENCY
from dots.common.seeding import isolated_random_state, seed_step
from dots.data import Augmentation, Batches, ColourJitter, ImageData, ImageSet, class_weights
from dots.nas.budget.budget import Allowance
from dots.nas.budget.latency import LatencyTable
from dots.nas.plan import Plan, search_context, stage_shape
from dots.nas.strategies.base import SearchContext
from dots.networks.body import Shape, check_image_size
from dots.networks.supernet import Supernet
from dots.recipe import Recipe, TrainSettings
from dots.recipe.settings import SearchSettings, StageSettings
from dots.runs.directory import RunDirectory
from dots.runs.journal import RunJournal
from dots.runs.progress import Shown, Silent
from dots.space.search_space import Candidates, SearchSpace
from dots.training.compile import Compiler
from dots.training.engine import Engine
from dots.training.loop import Loop
from dots.training.memory_guard import MemoryGuard
from dots.training.processes import Processes


@dataclass
class Session:
    """A plan, its data, a run directory and the means to work on them."""

    plan: Plan
    data: ImageData
    run: RunDirectory
    processes: Processes
    loop: Loop
    watcher: Shown | Silent
    workers: int = 0
    before_stage: Callable[[str], None] = lambda stage: None
    """Called ahead of a later stage: what is left of the recipe may still change."""
    _engine: Engine | None = None

    @property
    def recipe(self) -> Recipe:
        return self.plan.recipe

    @property
    def space(self) -> SearchSpace:
        return self.plan.space

    @property
    def main(self) -> bool:
        """Whether this is the process that writes."""
        return self.processes.main

    def engine(self) -> Engine:
        """How gradients are taken in every stage: one for all of them."""
        if self._engine is None:
            self._engine = self._new_engine()
        return self._engine

    def _new_engine(self) -> Engine:
        weights = None
        if self.recipe.data.class_weights:
            weights = class_weights(self.data.train.labels, len(self.data.info.classes))
        return Engine(
            self.processes,
            accumulate=self.recipe.accumulate,
            precision=self.recipe.precision,
            class_weights=weights,
            compiler=self._compiler(),
        )

    def _compiler(self) -> Compiler | None:
        return Compiler(self.processes.device, self.note) if self.recipe.compile else None

    def note(self, line: str) -> None:
        """Say a line, and keep it for the result and the report."""
        self.watcher.say(line)
        if self.main:
            self.run.notice(line)

    def shape(self, settings: StageSettings) -> Shape:
        """The size of a stage's network."""
        return stage_shape(settings, self.data.info)

    def context(self) -> SearchContext:
        """What the strategy is given."""
        context = search_context(
            self.plan,
            self.shape(self.recipe.operations),
            self.engine(),
            self.data.info.image_size,
        )
        return replace(context, penalty=self.allowance.penalty())

    @cached_property
    def allowance(self) -> Allowance:
        """The budget, with the latencies that the run keeps."""
        latency = None
        if self.run.has(LATENCY):
            path = self.run.path / LATENCY
            latency = LatencyTable.from_json(self.run.read_json(LATENCY), repr(str(path)))
        return plan_allowance(self.plan, self.data, latency)

    def batches(self, indices: Tensor, settings: StageSettings, stream: str) -> Batches:
        """Batches of training images, in random order and augmented as the stage asks."""
        augment = self.augmentation(settings)
        return self._batches(self.data.train, indices, settings, stream, augment)

    def plain_batches(
        self, images: ImageSet, indices: Tensor, settings: StageSettings, stream: str
    ) -> Batches:
        """Batches for a test: in the order of `indices` [N], only normalised."""
        return self._batches(images, indices, settings, stream, None)

    def _batches(
        self,
        images: ImageSet,
        indices: Tensor,
        settings: StageSettings,
        stream: str,
        augment: Augmentation | None,
    ) -> Batches:
        return Batches(
            images,
            indices,
            settings.batch,
            info=self.data.info,
            augment=augment,
            shuffle=augment is not None,
            seed=self.recipe.seed,
            stream=stream,
            device=self.processes.device,
            rank=self.processes.rank,
            world=self.processes.world,
            workers=self.workers,
        )

    def augmentation(self, settings: StageSettings) -> Augmentation:
        """Crop and flip; in the training also cutout and colours where set."""
        data, info = self.recipe.data, self.data.info
        padding = info.image_size // 8 if data.crop is None else data.crop
        training = settings if isinstance(settings, TrainSettings) else None
        return Augmentation(
            crop_padding=padding if settings.crop == "pad" else 0,
            resized_crop=settings.crop == "resized",
            flip=info.flip if data.flip is None else data.flip,
            colour=ColourJitter() if training and training.colour_jitter else None,
            cutout=training.cutout if training else 0,
        )


def plan_allowance(plan: Plan, data: ImageData, latency: LatencyTable | None) -> Allowance:
    """The budget of a recipe for these data. Raises UserError where a latency is needed."""
    recipe = plan.recipe
    if latency is None and recipe.budget.latency_target is not None:
        raise UserError(f"a latency target needs latencies, and the run has no {LATENCY}")
    return Allowance(
        plan.space,
        recipe.budget,
        recipe.topology,
        stage_shape(recipe.train, data.info),
        data.info.image_size,
        latency,
    )


def check_sizes(plan: Plan, data: ImageData) -> None:
    """Raise UserError where the images are too small for the network of a stage."""
    recipe = plan.recipe
    for settings in (recipe.operations, recipe.topology, recipe.train):
        check_image_size(plan.space, stage_shape(settings, data.info), data.info.image_size)


def make_session(
    plan: Plan,
    data: ImageData,
    run: RunDirectory,
    processes: Processes,
    *,
    watcher: Shown | Silent,
    stop_signal: Callable[[], int | None] = lambda: None,
    workers: int = 0,
    max_steps: int | None = None,
) -> Session:
    """Put a session together. The data move to the device where they are resident."""
    data = data.to(processes.device)

    minutes = plan.recipe.checkpoint_minutes
    loop = Loop(
        seed=plan.recipe.seed,
        processes=processes,
        journal=RunJournal(run, processes, say=watcher.say),
        watcher=watcher,
        stop_signal=stop_signal,
        save_every=60 * minutes if minutes else float("inf"),
        max_steps=max_steps,
    )
    session = Session(plan, data, run, processes, loop, watcher, workers)
    loop.guard = MemoryGuard(session.engine(), partial(record_parts, session))
    return session


def record_parts(session: Session, parts: int, line: str) -> None:
    """Remember for a resume and for the result that batches are taken in `parts` now."""
    recipe = session.recipe.model_copy(update={"accumulate": parts})
    session.plan = replace(session.plan, recipe=recipe)
    if session.main:
        session.run.replace_recipe(recipe)
    session.note(line)


def new_supernet(session: Session, settings: SearchSettings, candidates: Candidates) -> Supernet:
    """The smaller supernet of the topology search, with new weights."""
    with isolated_random_state():
        seed_step(session.recipe.seed, "topology", "weights")
        supernet = Supernet(
            session.space,
            session.shape(settings),
            candidates,
            fast=session.recipe.fast_kernels,
            low_memory=session.recipe.low_memory,
        )
    return session.engine().place_network(supernet)
