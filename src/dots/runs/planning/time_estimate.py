"""How long a run will take on this machine, from a few measured steps of each stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import torch

from dots.data import DataInfo
from dots.nas.perturbation import work
from dots.nas.plan import Plan
from dots.recipe import Recipe
from dots.recipe.shares import baseline_settings
from dots.runs.planning.trial_steps import STAGES, settle, single_engine, trial_steps
from dots.runs.progress import duration
from dots.space.retain import retained_count
from dots.training.graphs import FIRST, cuda_graphs

FIRST_IMAGES = 4
PLAIN_SHARE = 0.25  # of a cell's step: roughly what a step of the plain network takes
MOST_STEPS = 4  # that are timed at a size
LONGEST_STEP = 1.0  # seconds: a step that would take longer is measured on fewer images

Step = Callable[[int], None]


@dataclass(frozen=True)
class Counts:
    """Images of an epoch, by stage, of a test, and of the halves (0: unknown).

    `perturbation` has for a search stage what a selection by perturbation after it takes:
    decisions, and ratings of the supernet; see `dots.nas.perturbation.work`.
    """

    operations: int
    topology: int
    train: int
    test: int = 0
    half_a: int = 0
    half_b: int = 0
    perturbation: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def halves(self) -> int:
        """Images of both halves."""
        return self.half_a + self.half_b


def expected_counts(plan: Plan, train: int, test: int, half_a: int, half_b: int) -> Counts:
    """The counts of a plan with so many images."""
    recipe, space, both = plan.recipe, plan.space, half_a + half_b
    retained = retained_count(space, recipe.retain)
    assert retained is not None, "a recipe's groups are checked with it"
    return Counts(
        operations=both if plan.strategy.one_level else half_a,
        topology=half_a if recipe.topology.held_out else both,
        train=train,
        test=test,
        half_a=half_a,
        half_b=half_b,
        perturbation={
            "operations": work(space, len(space.operations), space.policy_edges),
            "topology": work(space, retained, recipe.topology.choices.edges),
        },
    )


@dataclass(frozen=True)
class Speed:
    """Seconds of a step of each stage, in its weight-only epochs and in the others."""

    early: Mapping[str, float]
    late: Mapping[str, float]


@dataclass(frozen=True)
class Part:
    """A stage of a plan: its name, epochs, steps of an epoch, and estimated seconds."""

    name: str
    epochs: int
    steps: int
    seconds: float


def measure(
    plan: Plan,
    info: DataInfo,
    device: torch.device,
    *,
    processes: int = 1,
    stages: Sequence[str] = STAGES,
) -> Speed:
    """Take a few steps of each stage on throw-away networks.

    A step on one process' share of the batch is timed, after one that warms up; where it
    would take more than LONGEST_STEP, fewer images are taken and the time is extrapolated
    along the line through two measurements. Where steps are captured, one that was is timed.
    """
    recipe = plan.recipe
    captured = processes == 1 and not (recipe.compile or recipe.low_memory)
    graphs = cuda_graphs(device, lambda line: None) if captured else None
    engine = single_engine(device, recipe.accumulate, recipe.precision, graphs)
    seconds = _seconds if graphs is None else _captured_seconds
    early: dict[str, float] = {}
    late: dict[str, float] = {}
    for trial in trial_steps(plan, info, engine, stages):
        batch = max(1, -(-settings_batch(recipe, trial.stage) // processes))
        late[trial.stage] = seconds(trial.late, batch, device)
        early[trial.stage] = late[trial.stage]
        if trial.early is not None:
            early[trial.stage] = seconds(trial.early, batch, device, warm=True)
    return Speed(early, late)


def settings_batch(recipe: Recipe, stage: str) -> int:
    """The batch size of a stage."""
    return {
        "operations": recipe.operations.batch,
        "topology": recipe.topology.batch,
        "train": recipe.train.batch,
    }[stage]


def _seconds(step: Step, batch: int, device: torch.device, *, warm: bool = False) -> float:
    few = min(batch, FIRST_IMAGES)
    if not warm:
        step(few)  # allocators, kernels chosen by trial
    short = _timed(step, few, device)
    if few == batch:
        return short
    most = int(few * LONGEST_STEP / short)
    images = min(batch, max(2 * few, most))
    long = _timed(step, images, device)
    slope = max(0.0, (long - short) / (images - few))
    return long + slope * (batch - images)


def _captured_seconds(step: Step, batch: int, device: torch.device, *, warm: bool = False) -> float:
    for _ in range(FIRST + 1):
        step(batch)
    return _timed(step, batch, device)


def _timed(step: Step, images: int, device: torch.device) -> float:
    """One step, or where it is short the median of a few more: the first of a size is slower."""
    times = [_once(step, images, device)]
    while len(times) < MOST_STEPS and sum(times) < LONGEST_STEP / 4:
        times.append(_once(step, images, device))
    return median(times[1:] or times)


def _once(step: Step, images: int, device: torch.device) -> float:
    settle(device)
    began = time.perf_counter()
    step(images)
    settle(device)
    return time.perf_counter() - began


def parts(
    recipe: Recipe, counts: Counts, speed: Speed, kind: str = "run", *, candidates: bool = False
) -> list[Part]:
    """The stages of a job of that kind, in their order, with their estimated seconds.

    `candidates`: the operation search is given, not done.
    """
    wanted = {
        "run": ["operations", "topology", "halving", "train"],
        "search": ["operations", "topology", "halving"],
        "operations": ["operations"],
        "train": ["train"],
    }[kind]
    if candidates:
        wanted.remove("operations")
    if "halving" in wanted and not recipe.halving.on:
        wanted.remove("halving")
    plan: list[Part] = []
    for stage in wanted:
        plan += [_part(recipe, counts, speed, stage, stage)]
        if stage in counts.perturbation and getattr(recipe, stage).select == "perturbation":
            plan += [_perturbation(recipe, counts, speed, stage)]
    if "train" in wanted:
        names = [name for name in recipe.baselines if kind == "run" or name != "darts-policy"]
        plan += [_part(recipe, counts, speed, "train", f"train-{name}") for name in names]
    return plan


def _part(recipe: Recipe, counts: Counts, speed: Speed, stage: str, name: str) -> Part:
    if stage == "halving":
        return _halving(recipe, counts, speed)
    images = {
        "operations": counts.operations,
        "topology": counts.topology,
        "train": counts.train,
    }[stage]
    steps = -(-images // settings_batch(recipe, stage))
    if stage == "train":
        epochs = baseline_settings(recipe, name.removeprefix("train-")).epochs
        tested = counts.test / recipe.train.batch / 3  # forward only
        share = PLAIN_SHARE if name == "train-plain" else 1.0
        seconds = share * speed.late[stage] * (epochs * steps + tested)
        return Part(name, epochs, steps, seconds)
    settings = recipe.operations if stage == "operations" else recipe.topology
    first, early_steps = settings.weight_epochs, steps
    if settings is recipe.topology and recipe.topology.weight_half and counts.half_a:
        early_steps = -(-counts.half_a // settings.batch)
    late = steps * (settings.epochs - first) * speed.late[stage]
    seconds = early_steps * first * speed.early[stage] + late
    return Part(name, settings.epochs, steps, seconds)


def _perturbation(recipe: Recipe, counts: Counts, speed: Speed, stage: str) -> Part:
    """Epochs of w between the decisions, and what rates the supernet, forward only."""
    settings, (decisions, ratings) = getattr(recipe, stage), counts.perturbation[stage]
    images: int = getattr(counts, stage)
    epochs, steps = max(1, (decisions - 1) * settings.tune_epochs), -(-images // settings.batch)
    seen = min(settings.rating_images or counts.half_b, counts.half_b)
    seconds = speed.early[stage] * (epochs * steps + ratings * seen / settings.batch / 3)
    return Part(f"{stage}-perturbation", epochs, steps, seconds)


def _halving(recipe: Recipe, counts: Counts, speed: Speed) -> Part:
    """All rounds; a judgement is a pass over half B, forward only."""
    settings, batch = recipe.halving, recipe.train.batch
    steps = -(-counts.half_a // batch)
    epochs = settings.all_epochs(settings.cells)
    judged = sum(count for count, _ in settings.rounds(settings.cells)) * counts.half_b / batch / 3
    return Part("halving", epochs, steps, speed.late["train"] * (epochs * steps + judged))


def later(plan: Sequence[Part]) -> dict[str, float]:
    """For each stage the estimated seconds of all that follow it."""
    return {
        part.name: sum(following.seconds for following in plan[place + 1 :])
        for place, part in enumerate(plan)
    }


def lines(plan: Sequence[Part]) -> list[str]:
    """The plan for people, a line for each stage and one for the sum."""
    width = max([20, *(len(part.name) for part in plan)])
    shown = [
        f"  {part.name:<{width}} {part.epochs:>4} epochs of {part.steps:>5} steps   "
        f"about {duration(part.seconds)}"
        for part in plan
    ]
    total = duration(sum(part.seconds for part in plan))
    return ["plan (time measured on a few steps of each stage):", *shown, f"  in all about {total}"]
