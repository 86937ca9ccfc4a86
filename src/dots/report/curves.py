"""Loss and accuracy over the epochs of every stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dots.report.charts.lines import Frame, Series, line_chart
from dots.report.reading import Run
from dots.report.wording import BASELINES, STAGES, stage_name

TRAINING = "train"
_TITLES = {"loss": "Loss", "accuracy": "Accuracy in %", "lr": "Learning rate"}


@dataclass(frozen=True)
class StageCurves:
    """The charts of a stage, with its name and what their caption says."""

    name: str
    charts: tuple[Markup, ...]
    caption: str


def stage_curves(run: Run) -> list[StageCurves]:
    """Loss and accuracy of the search stages, then of all trained cells together."""
    result: list[StageCurves] = []
    for stage in (name for name in STAGES if not name.startswith(TRAINING)):
        series = {key: _search(run, stage, key) for key in _TITLES}
        caption = (
            "Of the supernet on training images, averaged over each epoch while the weights "
            "change. Half B is what the architecture is fitted to."
            if len(series["loss"]) > 1
            else "Of the supernet on training images, averaged over each epoch while the "
            "weights change."
        )
        _add(result, stage_name(stage), series, caption)
    cells = sorted({row.stage for row in run.metrics if row.stage.startswith(TRAINING)})
    series = {key: _training(run, cells, key) for key in ("loss", "accuracy")}
    series["lr"] = _training(run, cells[:1], "lr")
    caption = (
        "On augmented training images, averaged over each epoch; all cells are trained with the "
        "same recipe. The test images are looked at once, after the last epoch."
    )
    _add(result, "Training from scratch", series, caption)
    return result


def _add(
    result: list[StageCurves], name: str, series: dict[str, list[Series]], caption: str
) -> None:
    charts = []
    for key, lines in series.items():
        if any(line.points for line in lines):
            frame = Frame(title=_TITLES[key], x_label="epoch", y_label=_TITLES[key].lower())
            charts.append(line_chart(frame, lines))
    if charts:
        result.append(StageCurves(name, tuple(charts), caption))


def _search(run: Run, stage: str, key: str) -> list[Series]:
    lines = [Series("weights", _points(run, stage, key), 0)]
    other = _points(run, stage, f"arch_{key}")
    return [*lines, Series("half B", other, 1)] if other else lines


def _training(run: Run, stages: Sequence[str], key: str) -> list[Series]:
    order = ["train", *(f"train-{name}" for name in BASELINES)]
    ordered = [s for s in order if s in stages] + [s for s in stages if s not in order]
    return [
        Series(
            "found" if stage == "train" else stage.removeprefix("train-").replace("-", " "),
            _points(run, stage, key),
            index,
        )
        for index, stage in enumerate(ordered)
    ]


def _points(run: Run, stage: str, key: str) -> list[tuple[float, float]]:
    scale = 100 if key.endswith("accuracy") else 1
    return [
        (row.epoch + 1, scale * value)
        for row in run.rows(stage)
        if (value := row.number(key)) is not None
    ]
