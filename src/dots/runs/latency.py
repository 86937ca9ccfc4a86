"""The latencies that a budget goes by: read or measured before a run begins, and kept by it."""

from __future__ import annotations

import json
from pathlib import Path

from dots.common.errors import UserError
from dots.data import ImageData
from dots.nas.budget.latency import LatencyTable, measure_latencies
from dots.nas.plan import Plan, stage_shape
from dots.runs.progress import Shown, Silent
from dots.runs.session import plan_allowance
from dots.space.search_space import Candidates
from dots.training.processes import Processes


def checked_latencies(
    plan: Plan,
    data: ImageData,
    table: Path | None,
    processes: Processes,
    watcher: Shown | Silent,
    *,
    candidates: Candidates | None = None,
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
        plan_allowance(plan, data, latency).check(candidates)
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
