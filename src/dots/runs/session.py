"""A run that is being worked on: its directory, images, processes, and what drives its stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dots.common.records import LATENCY
from dots.data import (
    Augmentation,
    Batches,
    ColourJitter,
    DataInfo,
    ImageData,
    ImageSet,
    class_weights,
)
from dots.nas.budget.budget import Budget
from dots.nas.budget.latency import LatencyTable
from dots.nas.plan import Plan
from dots.recipe import Recipe, TrainSettings
from dots.recipe.settings import DataSettings, StageSettings
from dots.runs.builders import Images
from dots.runs.directory import RunDirectory
from dots.runs.progress import Shown, Silent
from dots.runs.trackers.tracked import Tracked, Trackers, tracked
from dots.training.compile import Compiler
from dots.training.engine import Engine
from dots.training.graphs import cuda_graphs
from dots.training.loop import Loop, State, stop_requests
from dots.training.memory_guard import MemoryGuard
from dots.training.processes import Processes


@dataclass(frozen=True)
class RunImages:
    """The images of a run, in batches for this of its processes.

    `settings` and `seed` are the recipe's; `workers` processes decode streamed images.
    """

    data: ImageData
    settings: DataSettings
    seed: int
    processes: Processes
    workers: int = 0

    @property
    def info(self) -> DataInfo:
        return self.data.info

    def rows(self, images: Images) -> Tensor:
        """Which of the training images they are, [N]."""
        data = self.data
        match images:
            case "all":
                return torch.arange(len(data.train))
            case "both halves":
                return torch.cat([data.half_a, data.half_b])
        return data.half_a if images == "half A" else data.half_b

    def batches(
        self, stream: str, images: Images, settings: StageSettings, most: int | None = None
    ) -> Batches:
        """Batches of training images (the first `most`), augmented as the stage asks.

        A BatchMaker.
        """
        rows, augment = self.rows(images)[:most], self._augmentation(settings)
        return self._batches(self.data.train, rows, stream, settings, augment)

    def plain_batches(self, images: ImageSet, rows: Tensor, settings: StageSettings) -> Batches:
        """Batches for a test: in the order of `rows` [N], only normalised."""
        return self._batches(images, rows, "test", settings, None)

    def _batches(
        self,
        images: ImageSet,
        rows: Tensor,
        stream: str,
        settings: StageSettings,
        augment: Augmentation | None,
    ) -> Batches:
        return Batches(
            images,
            rows,
            settings.batch,
            info=self.info,
            augment=augment,
            shuffle=augment is not None,
            seed=self.seed,
            stream=stream,
            device=self.processes.device,
            rank=self.processes.rank,
            world=self.processes.world,
            workers=self.workers,
        )

    def _augmentation(self, settings: StageSettings) -> Augmentation:
        """Crop and flip; in the training also cutout and colours where set."""
        padding = self.info.image_size // 8 if self.settings.crop is None else self.settings.crop
        training = settings if isinstance(settings, TrainSettings) else None
        return Augmentation(
            crop_padding=padding if settings.crop == "pad" else 0,
            resized_crop=settings.crop == "resized",
            flip=self.info.flip if self.settings.flip is None else self.settings.flip,
            colour=ColourJitter() if training and training.colour_jitter else None,
            cutout=training.cutout if training else 0,
        )


@dataclass(frozen=True)
class Session:
    """What the stages of a run work with, and the plan that it was begun or resumed with."""

    plan: Plan
    run: RunDirectory
    images: RunImages
    engine: Engine
    loop: Loop
    budget: Budget
    say: Callable[[str], None]
    note: Callable[[str], None]
    """Say a line, and keep it for the result and the report."""
    trackers: Trackers | None = None

    @property
    def processes(self) -> Processes:
        return self.engine.processes


@contextmanager
def work_on(
    run: RunDirectory,
    plan: Plan,
    data: ImageData,
    processes: Processes,
    watcher: Shown | Silent,
    *,
    workers: int = 0,
    max_steps: int | None = None,
    loggers: Sequence[str] = (),
) -> Iterator[Session]:
    """A session, for the time of the block; signals to stop are heard in it.

    The data move to the device where they are resident.
    """
    recipe = plan.recipe
    for line in (*data.notices, f"run directory: {run.path}"):
        watcher.say(line)
    data = data.to(processes.device)

    def note(line: str) -> None:
        """Say a line, and keep it for the result and the report."""
        watcher.say(line)
        run.notice(line)

    def record_parts(parts: int, line: str) -> None:
        """Remember for a resume and for the result that batches are taken in `parts` now."""
        run.replace_recipe(run.recipe.model_copy(update={"accumulate": parts}))
        note(line)

    engine = _engine(plan.recipe, data, processes, note)
    minutes = recipe.checkpoint_minutes
    with tracked(run, loggers, watcher.say) as trackers, stop_requests() as stop_signal:
        loop = Loop(
            seed=recipe.seed,
            processes=processes,
            journal=RunJournal(run, processes, watcher.say),
            watcher=watcher if trackers is None else Tracked(watcher, trackers),
            stop_signal=stop_signal,
            guard=MemoryGuard(engine, record_parts),
            save_every=60 * minutes if minutes else float("inf"),
            max_steps=max_steps,
        )
        latency = LatencyTable.load(run.path / LATENCY) if run.has(LATENCY) else None
        images = RunImages(data, recipe.data, recipe.seed, processes, workers)
        budget = plan.budget(data.info, latency)
        yield Session(plan, run, images, engine, loop, budget, watcher.say, note, trackers)


def _engine(
    recipe: Recipe, data: ImageData, processes: Processes, note: Callable[[str], None]
) -> Engine:
    """How gradients are taken in every stage."""
    weights = None
    if recipe.data.class_weights:
        weights = class_weights(data.train.labels, len(data.info.classes))
    # Several processes wait for one another in a step, compiled networks launch by themselves,
    # and cells that are computed again go back to a random state.
    captured = processes.world == 1 and not (recipe.compile or recipe.low_memory)
    return Engine(
        processes,
        accumulate=recipe.accumulate,
        precision=recipe.precision,
        class_weights=weights,
        compiler=Compiler(processes.device, note) if recipe.compile else None,
        graphs=cuda_graphs(processes.device, note) if captured else None,
    )


class RunJournal:
    """Writes a stage's record into a run directory, from which every process reads.

    None may read what is not written yet, so they wait for one another. `say` tells the user
    which checkpoints are damaged.
    """

    def __init__(
        self,
        run: RunDirectory,
        processes: Processes,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.run = run
        self.processes = processes
        self.say = say
        self._said: set[str] = set()

    def resume_point(self, stage: str, attempt: int) -> State | None:
        """The newest state of this attempt of the stage, or None where it has not begun.

        Rows that were written after it are forgotten: they will be written again.
        """
        newest = self.run.checkpoints.newest(stage)
        for notice in self.run.checkpoints.notices:
            if notice not in self._said:
                self._said.add(notice)
                self.say(notice)
        self.processes.barrier()
        state = None if newest is None else newest[1]
        if state is not None and state.get("attempt", 0) != attempt:
            state = None
        self.run.rewind(stage, 0 if state is None else state["epoch"])
        self.processes.barrier()
        return state

    def save(self, stage: str, epoch: int, step: int, state: State) -> None:
        """Write a checkpoint."""
        if self.run.writes:
            self.run.checkpoints.write(stage, epoch, step, state)
        self.processes.barrier()

    def epoch_done(self, row: dict[str, Any], snapshot: dict[str, Any] | None) -> None:
        """Append an epoch's metrics, and the architecture as it stands."""
        if self.run.writes:
            self.run.metrics.append(row)
            if snapshot is not None:
                self.run.architecture.append(snapshot)
