"""What a run may take, time, memory, latency: decided before its directory is made."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dots.common.errors import UserError
from dots.common.records import PLAN
from dots.data import ImageData, ResidentImages
from dots.nas.budget.latency import LatencyTable, measure_latencies
from dots.nas.plan import Plan, stage_shape
from dots.recipe import Recipe, recipe_from_json
from dots.runs.planning.time_estimate import Counts, Speed, expected_counts, later, lines, measure
from dots.runs.planning.time_limit import TimeLimit, recipe_changes
from dots.runs.progress import Shown, Silent
from dots.runs.session import Session
from dots.space.search_space import Candidates
from dots.training.memory_guard import is_out_of_memory, release
from dots.training.processes import Processes, device_name


@dataclass(frozen=True)
class Limits:
    """The most that a run may take: `seconds` of time, `memory` in bytes for each process."""

    seconds: float | None = None
    memory: int | None = None


def fitted(
    plan: Plan,
    data: ImageData,
    kind: str,
    limits: Limits,
    processes: Processes,
    watcher: Shown | Silent,
    *,
    candidates: bool = False,
) -> tuple[Plan, TimeLimit | None]:
    """The plan cut to the limits, and the time limit to keep to, if there is one.

    The main process measures and tells the user; all processes get the same. Raises UserError
    where nothing fits.
    """
    answer = ""
    if processes.main:
        recipe = _within_memory(plan, data, limits, processes, watcher)
        timed = None
        if limits.seconds is not None or watcher.estimates:
            recipe, timed = _within_time(
                plan.having(recipe),
                data,
                kind,
                limits,
                processes,
                watcher,
                candidates=candidates,
            )
        answer = json.dumps(
            {"recipe": recipe.to_json(), "time": None if timed is None else timed.to_json()}
        )
    agreed: dict[str, Any] = json.loads(processes.text(answer))
    time = agreed["time"]
    found = recipe_from_json(agreed["recipe"])
    kept = TimeLimit.from_json(time, "the plan") if time is not None else None
    return (plan if found == plan.recipe else plan.having(found)), kept


def counts_of(plan: Plan, data: ImageData) -> Counts:
    """Images of an epoch of each stage, and how much there is to decide."""
    halves = len(data.half_a), len(data.half_b)
    return expected_counts(plan, len(data.train), len(data.test), *halves)


def _within_memory(
    plan: Plan, data: ImageData, limits: Limits, processes: Processes, watcher: Shown | Silent
) -> Recipe:
    recipe = plan.recipe
    if limits.memory is None:
        return recipe
    from dots.runs.planning.memory_limit import fewest_parts, shown_bytes

    sets = [part for part in (data.train, data.test) if isinstance(part, ResidentImages)]
    resident = sum(part.pixels.nbytes for part in sets)
    parts, peak = fewest_parts(
        plan,
        data.info,
        processes.device,
        limits.memory,
        resident=resident,
        processes=processes.world,
    )
    watcher.say(f"accumulate = {parts}: a step takes up to {shown_bytes(peak)}, images included")
    if parts > 1:
        watcher.say("batch statistics are those of a part of a batch")
    return recipe.model_copy(update={"accumulate": parts})


def _within_time(
    plan: Plan,
    data: ImageData,
    kind: str,
    limits: Limits,
    processes: Processes,
    watcher: Shown | Silent,
    *,
    candidates: bool,
) -> tuple[Recipe, TimeLimit | None]:
    recipe = plan.recipe
    speed = _measured(plan, data, processes, watcher)
    if speed is None:
        return recipe, None
    counts = counts_of(plan, data)
    timed = TimeLimit(
        limits.seconds or 0.0, kind, candidates, counts, speed, wanted=recipe.to_json()
    )
    if limits.seconds is not None:
        recipe = timed.fitted(recipe)
        for line in recipe_changes(plan.recipe, recipe):
            watcher.say(f"cut to fit the time limit: {line}")
    planned = timed.plan(recipe)
    if processes.device.type == "cuda":
        watcher.say(f"on {device_name(processes.device)}")
    for line in lines(planned):
        watcher.say(line)
    watcher.expect(later(planned))
    return recipe, timed if limits.seconds is not None else None


def _measured(
    plan: Plan, data: ImageData, processes: Processes, watcher: Shown | Silent
) -> Speed | None:
    """None where the measurement itself runs out of memory: the run has its own remedies."""
    try:
        return measure(plan, data.info, processes.device, processes=processes.world)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    release()
    watcher.say("no estimate of the time: the measurement ran out of memory")
    return None


def cut_to_time(session: Session, stage: str) -> Plan:
    """The plan as it stands ahead of `stage`: with a time limit, fitted to the time that is left.

    What has begun keeps what it was given.
    """
    run = session.run
    if run.has(PLAN) and run.checkpoints.newest(stage) is None:
        answer = ""
        if run.writes:
            limit = TimeLimit.from_json(run.read_json(PLAN), str(run.path / PLAN))
            cut = limit.refitted(run.recipe, run.metrics.rows(), stage)
            for line in recipe_changes(run.recipe, cut):
                session.say(f"fitted to the time that is left: {line}")
            answer = json.dumps(cut.to_json())
        recipe = recipe_from_json(json.loads(session.engine.processes.text(answer)))
        if recipe != run.recipe:
            run.replace_recipe(recipe)
    return replace(session.plan, recipe=run.recipe)


def checked_latencies(
    plan: Plan,
    data: ImageData,
    table: Path | None,
    processes: Processes,
    watcher: Shown | Silent,
    candidates: Candidates | None = None,
    *,
    check: bool = True,
) -> LatencyTable | None:
    """The latencies of a recipe with a latency target, from a file or measured now.

    The main process reads or measures; all processes get the same. Raises UserError where
    the file does not fit and, with `check`, where no cell (of `candidates`) is within the budget.
    """
    latency = None
    if plan.recipe.budget.latency_target is not None:
        text = ""
        if processes.main:
            text = json.dumps(_found(plan, data, table, processes, watcher).to_json())
        latency = LatencyTable.from_json(json.loads(processes.text(text)), "the table")
    elif table is not None:
        raise UserError("a latency table without a latency target: give --latency-target too")
    if check:
        plan.budget(data.info, latency).check(candidates)
    return latency


def _found(
    plan: Plan, data: ImageData, table: Path | None, processes: Processes, watcher: Shown | Silent
) -> LatencyTable:
    if table is not None:
        return LatencyTable.load(table)
    watcher.say("measuring latencies on this device (dots profile keeps them for many runs)")
    return measure_latencies(
        plan.space,
        stage_shape(plan.recipe.train, data.info),
        data.info.image_size,
        device=processes.device,
    )
