"""What a run directory is for, and what belongs to the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dots.common.errors import UserError
from dots.common.records import JOB
from dots.data import ImageData
from dots.nas.plan import Plan, stage_shape
from dots.networks.specification import DARTS, NetworkSpec, make_network_spec
from dots.recipe import Recipe
from dots.recipe.shares import AS_WRITTEN
from dots.runs.directory import RunDirectory
from dots.space.genotype import Genotype


@dataclass(frozen=True)
class Machine:
    """What belongs to the machine and not to the recipe; it changes no result on one device.

    `device` as in `dots.training.processes.start_processes`; `devices` and `nodes` count processes;
    `workers` processes decode images that are streamed from disk; `latency_table` is a file
    of `dots profile`, for a recipe with a latency target; `loggers` names the trackers that are
    told of the run (see `dots.runs.trackers`).
    """

    device: str | None = None
    devices: int = 1
    nodes: int = 1
    workers: int = 0
    download: bool = True
    skip_corrupt: bool = False
    latency_table: Path | None = None
    loggers: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Machine:
        """The machine of what `asdict` gave, from JSON, which has no tuples."""
        return cls(**{**value, "loggers": tuple(value.get("loggers", ()))})


@dataclass(frozen=True)
class Job:
    """What a run directory is for: kept in job.json, so that it can be continued.

    `kind` is "run" (everything), "search" (up to the genotype), "operations" (up to the
    candidates) or "train" (a given genotype). `data` is a name or an absolute path, or None
    for data that only Python has. `candidates` is the file that a search started from, `table`
    that of a benchmark which knows the true accuracies. A training may be that of a
    `reference` network instead of a genotype, or put the genotype into another `skeleton`, or
    begin with the `weights` of another run's network.
    """

    kind: str
    data: str | None
    candidates: str | None = None
    table: str | None = None
    reference: str | None = None
    skeleton: str = DARTS
    weights: str | None = None


def network_spec_for(
    plan: Plan, data: ImageData, job: Job, genotype: Genotype | None
) -> NetworkSpec:
    """What a job of kind "train" trains."""
    shape = stage_shape(plan.recipe.train, data.info)
    return make_network_spec(job.reference, genotype, job.skeleton, shape, data.info.image_size)


def check_network_spec(plan: Plan, data: ImageData, job: Job, genotype: Genotype | None) -> None:
    """Raise UserError where a network without parts to choose cannot be built for these data."""
    if job.reference is not None or job.skeleton != DARTS:
        network_spec_for(plan, data, job, genotype).cost(data.info.image_size)


def read_job(run: RunDirectory) -> Job:
    """The job of a run directory. Raises UserError where its file is damaged."""
    value = run.read_json(JOB)
    try:
        return Job(**value)
    except TypeError:
        raise UserError(f"{str(run.path / JOB)!r} is damaged: it does not say what to do") from None


def dry_recipe(recipe: Recipe) -> Recipe:
    """The recipe cut down to one epoch of each stage, for a dry run."""
    once = {"epochs": 1, "warmup_epochs": 0}
    search = {**once, "weight_epochs": 0, "lr_epochs": None, "lr_offset": 0}
    return recipe.model_copy(
        update={
            **AS_WRITTEN,
            "operations": recipe.operations.model_copy(update=search),
            "topology": recipe.topology.model_copy(update=search),
            "halving": recipe.halving.model_copy(update=once),
            "train": recipe.train.model_copy(update={**once, "published_epochs": None}),
        }
    )
