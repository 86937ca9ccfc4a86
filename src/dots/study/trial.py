"""What one trial does: a search, or a training of a given cell, in a folder of its own.

`run_trial` is the one function that processes and Ray call. It takes JSON values and returns
JSON values, and goes on where an earlier attempt in the same folder was stopped.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from dots.common.files import write_json
from dots.common.records import CANDIDATES, GENOTYPE, POLICY_GENOTYPE, RECIPE, RESULT, TOPOLOGY
from dots.recipe import Recipe, recipe_from_json
from dots.runs.directory import RunDirectory
from dots.runs.launch import Job, Machine, begin, execute, resume
from dots.runs.progress import Silent
from dots.space.genotype import Genotype

Json = dict[str, Any]
RUN = "run"
GIVEN = "given-candidates.json"


@dataclass(frozen=True)
class Trial:
    """A unit of work: `name` is its folder's, `spec` what `run_trial` takes.

    `kind` ("search" or "train") tells trials apart that take about equally long.
    """

    name: str
    spec: Json

    @property
    def kind(self) -> str:
        return str(self.spec["kind"])


def search_spec(
    data: str,
    recipe: Recipe,
    machine: Machine,
    candidates: Json | None = None,
) -> Json:
    """A search up to the genotype; from `candidates` (a candidates.json) the topology alone."""
    return {
        "kind": "search",
        "data": data,
        "recipe": recipe.to_json(),
        "machine": asdict(machine),
        "candidates": candidates,
    }


def train_spec(data: str, recipe: Recipe, machine: Machine, genotype: Genotype) -> Json:
    """A training of a cell from scratch, and its test."""
    return {
        "kind": "train",
        "data": data,
        "recipe": recipe.to_json(),
        "machine": asdict(machine),
        "genotype": genotype.to_json(),
    }


def run_trial(spec: Mapping[str, Any], folder: str) -> Json:
    """Do one trial, or finish it, and say what came of it.

    A search gives "genotype", "policy" (the strategy's cell without topology search, or
    null), "candidates" and "topology" (the contents of those files), "seconds" and
    "cpu_seconds" of both its stages, and "history" (β after each epoch of the topology
    search); a training the numbers of result.json.

    Raises UserError where the trial cannot be done, dots.training.loop.Interrupted after a signal.
    """
    torch.set_num_threads(1)
    return KINDS[spec["kind"]](spec, Path(folder))


def _search(spec: Mapping[str, Any], folder: Path) -> Json:
    given = None
    if spec["candidates"] is not None:
        given = str(folder / GIVEN)
        write_json(folder / GIVEN, spec["candidates"])
    run = _run(spec, folder, Job("search", spec["data"], given))
    rows = run.metrics.rows()
    stages = ("operations", "topology")
    return {
        "genotype": run.read_json(GENOTYPE),
        "policy": run.read_json(POLICY_GENOTYPE) if run.has(POLICY_GENOTYPE) else None,
        "candidates": run.read_json(CANDIDATES) if run.has(CANDIDATES) else spec["candidates"],
        "topology": run.read_json(TOPOLOGY),
        "seconds": {stage: _total(rows, stage, "seconds") for stage in stages},
        "cpu_seconds": {stage: _total(rows, stage, "cpu_seconds") for stage in stages},
        "undecided": _last(rows, "topology", "beta_entropy"),
        "history": _history(run),
    }


def _total(rows: list[Json], stage: str, column: str) -> float:
    return round(sum(float(row[column]) for row in rows if row["stage"].startswith(stage)), 3)


def _last(rows: list[Json], stage: str, column: str) -> float | None:
    values = [row[column] for row in rows if row["stage"] == stage and column in row]
    return values[-1] if values else None


def _history(run: RunDirectory) -> list[Json]:
    """The probabilities of β and the temperature, after each epoch of the topology search."""
    rows = (row for row in run.architecture.rows() if row["stage"] == "topology")
    return [{name: row[name] for name in ("epoch", "temperature", "beta")} for row in rows]


def _train(spec: Mapping[str, Any], folder: Path) -> Json:
    genotype = Genotype.from_json(spec["genotype"])
    run = _run(spec, folder, Job("train", spec["data"]), genotype)
    result = run.read_json(RESULT)
    kept = ("test_accuracy", "test_loss", "test_images", "parameters", "multiply_adds")
    return {name: result[name] for name in (*kept, "train_seconds")}


KINDS: Mapping[str, Callable[[Mapping[str, Any], Path], Json]] = MappingProxyType(
    {"search": _search, "train": _train}
)


def _run(
    spec: Mapping[str, Any], folder: Path, job: Job, genotype: Genotype | None = None
) -> RunDirectory:
    """Begin or continue the run in `folder`, until it has its result."""
    path = folder / RUN
    machine, watcher = Machine.from_json(spec["machine"]), Silent()
    if (path / RESULT).exists():
        return RunDirectory.read(path)
    if (path / RECIPE).exists():  # the last file of a beginning
        with resume(path, machine=machine, watcher=watcher, data=spec["data"]) as (session, _):
            execute(session, job, genotype)
    else:
        if path.exists():  # it died while it began
            shutil.rmtree(path)
        made = recipe_from_json(spec["recipe"])
        with begin(
            spec["data"],
            made,
            job,
            machine=machine,
            watcher=watcher,
            out=path,
            genotype=genotype,
        ) as session:
            execute(session, job, genotype)
    shutil.rmtree(path / "checkpoints", ignore_errors=True)  # nothing will go on from them
    return RunDirectory.read(path)
