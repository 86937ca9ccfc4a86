"""Beginning and continuing a job: recipe, data, run directory and device put together."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dots.common.errors import UserError
from dots.common.plugins import NOTHING, Given
from dots.common.records import (
    DATA,
    GENOTYPE,
    HALVES,
    JOB,
    LATENCY,
    MACHINE,
    PLAN,
    SPLITS,
    DataRecord,
)
from dots.common.threads import fit_maps
from dots.data import ImageData, open_data
from dots.data.sources.read import Spec
from dots.data.splits import check_halves, halves_record
from dots.nas.plan import Plan, make_plan
from dots.recipe import Recipe
from dots.recipe.shares import STAGES, fitted_to_images
from dots.runs.directory import RunDirectory, check_free
from dots.runs.further_training import INITIAL, backbone, extended, reopen
from dots.runs.job import Job, Machine, check_network_spec, dry_recipe, network_spec_for, read_job
from dots.runs.limits import Limits, checked_latencies, fitted
from dots.runs.plugins import check_plugins, plugin_changes, record_of
from dots.runs.progress import Shown, Silent
from dots.runs.session import Session, work_on
from dots.runs.trackers.tracked import check_trackers
from dots.space.candidates import read_candidates
from dots.space.genotype import Genotype
from dots.training.processes import Processes, start_processes
from dots.zoo.nasbench201 import Truth

__all__ = ["Job", "Machine", "begin", "dry_recipe", "execute", "resume"]

Watcher = Shown | Silent


@contextmanager
def begin(
    spec: Spec,
    recipe: Recipe,
    job: Job,
    *,
    machine: Machine,
    watcher: Watcher,
    out: Path | None = None,
    name: str | None = None,
    command: Sequence[str] | None = None,
    genotype: Genotype | None = None,
    max_steps: int | None = None,
    limits: Limits | None = None,
    given: Given = NOTHING,
) -> Iterator[Session]:
    """A session in a new run directory, for the time of the block.

    `limits` may cut the recipe. `genotype` is the cell of a job of kind "train". `given` is what
    the recipe names that is neither ours nor installed. Everything that can be wrong is found
    before the directory is made. Raises UserError.
    """
    plan = make_plan(recipe, given)
    candidates = None
    if job.candidates is not None:  # read for its errors; again when it is used
        candidates = read_candidates(Path(job.candidates), plan.space, recipe.retain).candidates
    if job.table is not None:
        Truth.load(Path(job.table), plan.space)
    if out is not None:
        check_free(out)
    processes, watcher = _start(machine, watcher)
    files = {JOB: _json(asdict(job)), MACHINE: _json(_place(processes))}
    with tempfile.TemporaryDirectory() as folder:
        data = _open(spec, plan, machine, watcher, Path(folder), processes)
        if (Path(folder) / SPLITS).exists():
            files[SPLITS] = (Path(folder) / SPLITS).read_bytes()
    plan = _fitted_to_images(plan, data, watcher)
    files[DATA], files[HALVES] = _json(describe(data)), _json(halves_record(data))
    name = name or _name_of(spec, data)
    with fit_maps(_largest_map(plan.recipe, data)):
        check_network_spec(plan, data, job, genotype)
        if job.kind != "train" or "random" in recipe.baselines:
            table, check = machine.latency_table, job.kind != "train"
            latency = checked_latencies(
                plan, data, table, processes, watcher, candidates, check=check
            )
            if latency is not None:
                files[LATENCY] = _json(latency.to_json())
        if max_steps is None:
            limits, has_candidates = limits or Limits(), candidates is not None
            plan, timed = fitted(
                plan, data, job.kind, limits, processes, watcher, candidates=has_candidates
            )
            if timed is not None:
                files[PLAN] = _json(timed.to_json())
        if job.weights is not None:
            files[INITIAL] = backbone(
                Path(job.weights), network_spec_for(plan, data, job, genotype)
            )
        if genotype is not None:
            files[GENOTYPE] = genotype.to_text().encode()
        with (
            _create(processes, plan, out, name, command, files) as run,
            work_on(
                run,
                plan,
                data,
                processes,
                watcher,
                workers=machine.workers,
                max_steps=max_steps,
                loggers=machine.loggers if max_steps is None else (),
            ) as session,
        ):
            yield session


@contextmanager
def resume(
    path: Path,
    *,
    machine: Machine,
    watcher: Watcher,
    change: Callable[[Recipe], Recipe] = lambda recipe: recipe,
    data: Spec | None = None,
    extend: int = 0,
    given: Given = NOTHING,
) -> Iterator[tuple[Session, Job]]:
    """A session in an existing run directory, and what job it was.

    `change` may alter settings; what it alters is said. `data` replaces the source where it
    has moved. `extend` adds epochs to the training, finished or not (see
    `dots.runs.further_training`). `given` is what its recipe names that is neither ours nor
    installed. Raises UserError where there is no run, it is in use, the data differ, or a
    plug-in is not there.
    """
    processes, watcher = _start(machine, watcher)
    with RunDirectory.open(path) if processes.main else RunDirectory.follow(path) as run:
        processes.barrier()  # the main process has mended what a crash tore
        job = read_job(run)
        spec = data if data is not None else job.data
        if spec is None:
            raise UserError(f"{str(path)!r} was run on data given from Python: give them again")
        recipe = change(run.recipe)
        if extend:
            recipe = extended(recipe, job.kind, extend)
        check_plugins(run, given)
        plan = make_plan(recipe, given)
        images = _open(spec, plan, machine, watcher, path, processes)
        with fit_maps(_largest_map(recipe, images)):
            _tell_differences(run, plan, watcher, _place(processes))
            _check_same_data(run, images)
            if run.has(HALVES):
                check_halves(run.read_json(HALVES), images, repr(str(run.path / HALVES)))
            if processes.main and extend:
                reopen(run)
            if recipe != run.recipe:
                run.replace_recipe(recipe)
            processes.barrier()
            with work_on(
                run,
                plan,
                images,
                processes,
                watcher,
                workers=machine.workers,
                loggers=machine.loggers,
            ) as session:
                yield session, job


def _start(machine: Machine, watcher: Watcher) -> tuple[Processes, Watcher]:
    """All processes, of which the main one alone talks to the user."""
    check_trackers(machine.loggers)
    processes = start_processes(machine.device, devices=machine.devices, nodes=machine.nodes)
    return processes, watcher if processes.main else Silent()


def _open(
    spec: Spec,
    plan: Plan,
    machine: Machine,
    watcher: Watcher,
    splits_folder: Path,
    processes: Processes,
) -> ImageData:
    """Open the data: first where they may have to be downloaded, then everywhere."""
    if processes.local_rank > 0:
        processes.barrier()
    data = open_data(
        spec,
        plan.recipe.data,
        plan.recipe.seed,
        splits_folder=splits_folder,
        workers=machine.workers,
        download=machine.download and processes.local_rank == 0,
        skip_corrupt=machine.skip_corrupt,
        progress=watcher.reading,
        save_split=processes.main,
    )
    watcher.reading(0, 0)
    if processes.local_rank == 0:
        processes.barrier()
    plan.check_sizes(data.info)
    return data


def _fitted_to_images(plan: Plan, data: ImageData, watcher: Watcher) -> Plan:
    """The plan with the epochs and batches that the recipe means for so many images."""
    recipe = plan.recipe
    fitted = fitted_to_images(recipe, len(data.train), len(data.half_a) + len(data.half_b))
    if fitted == recipe:
        return plan
    epochs = ", ".join(f"{name} {getattr(fitted, name).epochs}" for name in STAGES)
    smaller = fitted.train.batch < recipe.train.batch
    batches = f"; batches of {fitted.train.batch}" if smaller else ""
    watcher.say(f"epochs for {len(data.train)} training images: {epochs}{batches}")
    return plan.having(fitted)


def _largest_map(recipe: Recipe, data: ImageData) -> int:
    """Numbers of the largest map of a step of any stage, about."""
    stages = (recipe.operations, recipe.topology, recipe.train)
    return data.info.image_size**2 * max(s.batch * s.channels for s in stages)


def _create(
    processes: Processes,
    plan: Plan,
    out: Path | None,
    name: str,
    command: Sequence[str] | None,
    files: dict[str, bytes],
) -> RunDirectory:
    run = None
    if processes.main:
        run = RunDirectory.create(
            plan.recipe,
            out=out,
            name=name,
            command=command,
            files=files,
            plugins=record_of(plan.plugins()),
        )
        if processes.world == 1:
            return run
    path = processes.text(str(run.path.resolve()) if run else "")
    return run or RunDirectory.follow(Path(path))


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def _place(processes: Processes) -> dict[str, Any]:
    """The content of machine.json: what may change numbers beside the recipe."""
    return {"device": processes.device.type, "processes": processes.world}


def _name_of(spec: Spec, data: ImageData) -> str:
    return Path(spec).resolve().name if isinstance(spec, Path) else data.info.name


def describe(data: ImageData) -> dict[str, Any]:
    """The content of data.json."""
    return DataRecord(
        **data.info.to_json(),
        source=data.where,
        train_images=len(data.train),
        test_images=len(data.test),
        half_a=len(data.half_a),
        half_b=len(data.half_b),
        notices=data.notices,
    ).to_json()


def _check_same_data(run: RunDirectory, data: ImageData) -> None:
    before, now = run.read_object(DATA), describe(data)
    for key in ("classes", "channels", "image_size", "train_images", "test_images", "mean"):
        if not _alike(before.get(key), now[key]):
            raise UserError(
                f"the data have changed since the run began: {key} was "
                f"{_brief(before.get(key))}, is {_brief(now[key])}"
            )


def _alike(before: object, now: object) -> bool:
    """Equal; numbers but for their last digits, which differ from processor to processor."""
    if isinstance(before, list) and isinstance(now, list):
        return len(before) == len(now) and all(map(_alike, before, now))
    if isinstance(before, float) and isinstance(now, float):
        return math.isclose(before, now, rel_tol=1e-6)
    return before == now


def _brief(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _tell_differences(
    run: RunDirectory, plan: Plan, watcher: Watcher, place: dict[str, Any]
) -> None:
    from dots.recipe import differences

    for name, old, new in differences(run.recipe, plan.recipe):
        watcher.say(f"changed setting: {name} was {old}, is {new}")
    for line in (*run.environment_differences(), *plugin_changes(run, plan.given)):
        watcher.say(f"changed since the run began: {line}")
    before = run.read_object(MACHINE) if run.has(MACHINE) else {}
    for name, value in place.items():
        if isinstance(before, dict) and before.get(name, value) != value:
            watcher.say(f"changed since the run began: {name} was {before[name]}, is {value}")


def execute(session: Session, job: Job, genotype: Genotype | None = None) -> dict[str, Any]:
    """Do what a job says, from wherever it was left, and write the result and the report.

    Returns the content of result.json.
    """
    from dots.runs import stages
    from dots.runs.result import finish

    plan, run = session.plan, session.run
    session.processes.barrier()  # a given genotype lies in the run directory
    given = None
    if job.candidates is not None and not run.has(GENOTYPE):
        given = read_candidates(Path(job.candidates), plan.space, plan.recipe.retain)
    if job.kind == "operations":
        stages.search_operations(session)
    elif job.kind == "search":
        stages.search(session, given)
    elif job.kind == "train":
        if genotype is None and job.reference is None:
            genotype = Genotype.load(run.path / GENOTYPE, plan.space)
        network_spec = network_spec_for(plan, session.images.data, job, genotype)
        stages.train_and_test(session, network_spec)
    else:
        stages.run_everything(session, given)
    truth = None if job.table is None else Truth.load(Path(job.table), plan.space)
    result = finish(run, truth, plan.space)
    if session.trackers is not None:
        session.trackers.result(result)
    return result
