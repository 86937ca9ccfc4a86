"""The numbers at the top of a report, and how far the run got."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from dots.common.records import MetricRow
from dots.recipe.settings import HalvingSettings
from dots.recipe.shares import STAGES
from dots.report.reading import Run
from dots.report.verdict import test_images, wilson
from dots.report.wording import NONE, amount, duration, percent


def tiles(run: Run) -> list[tuple[str, str, str]]:
    """The headline numbers that the run has: name, value, remark."""
    result = run.result
    if result is None:
        return []
    count = test_images(run)
    share = ""
    if count and result.test_accuracy is not None and 0 <= result.test_accuracy <= 1:
        low, high = wilson(result.test_accuracy, count)
        share = f"of {count} test images; 95 % interval {100 * low:.1f} to {100 * high:.1f} %"
    found = [
        ("Test accuracy", percent(result.test_accuracy), share),
        ("Top-5 accuracy", percent(result.test_top5), "true class among the best five"),
        ("Balanced accuracy", percent(result.balanced_accuracy), "mean over the classes"),
        ("Parameters", amount(result.parameters), "without the auxiliary head"),
        ("Multiply-adds", amount(result.multiply_adds), "convolutions and linear, an image"),
        (
            "Search time",
            duration(result.search_seconds),
            f"{duration(result.search_cpu_seconds)} of CPU time"
            if result.search_cpu_seconds is not None
            else "",
        ),
        ("Training time", duration(result.train_seconds), "the found cell"),
    ]
    return [tile for tile in found if tile[1] != NONE]


@dataclass(frozen=True)
class StageState:
    """How far a stage got: epochs done and planned, and the last of its metrics."""

    name: str
    state: str
    done: int
    planned: int | None
    seconds: float | None
    last: MetricRow | None


def stage_states(run: Run) -> list[StageState]:
    """Every stage that the recipe plans or the metrics hold."""
    return [_stage_state(run, stage) for stage in _stages(run)]


def _stages(run: Run) -> Iterator[str]:
    present = dict.fromkeys(row.stage for row in run.metrics)
    planned = [s for s in STAGES if planned_epochs(run, s)]
    yield from planned
    yield from (stage for stage in present if stage not in planned)


def planned_epochs(run: Run, stage: str) -> int | None:
    """How many epochs the recipe asks of a stage; every trained cell takes as many."""
    if stage == "halving":
        return _halving_epochs(run)
    name = "train.epochs" if stage.startswith("train") else f"{stage}.epochs"
    longer = run.setting("train.published_epochs") if stage == "train-published" else None
    epochs = longer or run.setting(name)
    return epochs if isinstance(epochs, int) and epochs > 0 else None


def _halving_epochs(run: Run) -> int | None:
    """Those of all cells: as many as there were, or as many as the recipe asks for."""
    if run.halving is not None:
        return sum(cell.epochs for cell in run.halving.cells)
    try:
        settings = HalvingSettings.model_validate(run.setting("halving"))
    except ValidationError:  # a run from before there was such a stage, or a damaged recipe
        return None
    return settings.all_epochs(settings.cells) or None


def _cut_short(run: Run, stage: str) -> str:
    """A search may stop by itself; then a later stage follows, or the result."""
    later = run.metrics and run.metrics[-1].stage != stage
    return "ended early" if later or run.result is not None else "unfinished"


def _stage_state(run: Run, stage: str) -> StageState:
    rows = run.rows(stage)
    planned, done = planned_epochs(run, stage), len(rows)
    if not rows:
        state = "not part of this run" if run.metrics and run.result else "not run"
    else:
        finished = planned is None or done >= planned
        state = "finished" if finished else _cut_short(run, stage)
    seconds = [value for row in rows if (value := row.number("seconds")) is not None]
    total = sum(seconds) if seconds else None
    return StageState(stage, state, done, planned, total, rows[-1] if rows else None)
