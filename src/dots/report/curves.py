"""Curves: loss and accuracy of every stage, and how β annealed (as in paper Fig. 3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dots.common.records import ArchitectureRow
from dots.report.charts.lines import Frame, Mark, Series, line_chart
from dots.report.graph import choices_of, column_names, relative_entropy, space_of
from dots.report.reading import Run
from dots.report.retained import operations_fixed, weights_over_time
from dots.report.wording import BASELINES, STAGES, kind_name, stage_name
from dots.space.search_space import SearchSpace

NAMED = 3
"""So many combinations of a node are drawn in colour; the others are the grey background."""


TRAINING = "train"
_TITLES = {"loss": "Loss", "accuracy": "Accuracy in %", "lr": "Learning rate"}


@dataclass(frozen=True)
class KindPanels:
    """The panels of one cell kind: a chart for each node with a choice, and one on α."""

    kind: str
    nodes: tuple[Markup, ...]
    without_choice: tuple[int, ...]
    operations: Markup | None
    fixed: int | None


def panels(run: Run) -> list[KindPanels]:
    """The panels of every cell kind; empty where there was no topology search."""
    space, rows = space_of(run), run.architecture_rows("topology")
    if space is None or not rows:
        return []
    return [_kind_panels(run, space, rows, kind) for kind in rows[-1].beta]


def _kind_panels(
    run: Run, space: SearchSpace, rows: Sequence[ArchitectureRow], kind: str
) -> KindPanels:
    fixed = operations_fixed(run, kind)
    charts, alone = [], []
    for index in range(min(space.cell.nodes, len(rows[-1].beta[kind]))):
        values = [(row.epoch + 1, row.beta[kind][index]) for row in rows if _has(row, kind, index)]
        width = len(values[-1][1])
        values = [(epoch, node) for epoch, node in values if len(node) == width]
        if width < 2:
            alone.append(index)
        else:
            charts.append(_node_chart(run, space, index, values, fixed))
    return KindPanels(kind, tuple(charts), tuple(alone), _operation_chart(run, kind), fixed)


def _has(row: ArchitectureRow, kind: str, node: int) -> bool:
    return node < len(row.beta.get(kind, []))


def _node_chart(
    run: Run,
    space: SearchSpace,
    node: int,
    values: Sequence[tuple[int, Sequence[float]]],
    fixed: int | None,
) -> Markup:
    width = len(values[-1][1])
    choices = choices_of(run)
    names = column_names(space.cell, node, choices, width)
    final = values[-1][1]
    ranked = sorted(range(width), key=lambda column: -final[column])
    named = ranked[: NAMED if width > NAMED else width]
    series = [
        Series(
            label=names[column] if names else f"no. {column + 1}",
            points=[(epoch, node_values[column]) for epoch, node_values in values],
            style=named.index(column) if column in named else 0,
            quiet=column not in named,
        )
        for column in range(width)
    ]
    what = "combinations" if choices.exclusive else "edges"
    frame = Frame(
        title=f"Node {node}: {width} {what}",
        x_label="epoch of the topology search",
        y_label="probability",
        label_room=92,
        y_range=(0, 1),
    )
    marks = [] if fixed is None else [Mark(fixed + 1, "operations fixed")]
    return line_chart(frame, series, marks)


def _operation_chart(run: Run, kind: str) -> Markup | None:
    """The weight of each edge's finally heaviest operation, and the median over the edges."""
    rows = run.architecture_rows("topology")
    paths = []
    for edge in range(len(rows[-1].alpha.get(kind, []))):
        weights = weights_over_time(run, kind, edge)
        if len(weights) > 1:
            paths.append(max(weights, key=lambda path: path[-1]))
    if not paths:
        return None
    epochs = [row.epoch + 1 for row in rows]
    middle = [sorted(at)[len(at) // 2] for at in zip(*paths, strict=True)]
    series = [Series("an edge", list(zip(epochs, path, strict=True)), quiet=True) for path in paths]
    frame = Frame(
        title=f"Operations of the {kind_name(kind)} cell",
        x_label="epoch of the topology search",
        y_label="weight",
        y_range=(0, 1),
    )
    return line_chart(frame, [*series, Series("median", list(zip(epochs, middle, strict=True)))])


def temperature_chart(run: Run) -> Markup | None:
    """T over the epochs (Eq. 9), on a logarithmic axis; None where it was not recorded."""
    points = [
        (row.epoch + 1, math.log10(row.temperature))
        for row in run.architecture_rows("topology")
        if row.temperature and row.temperature > 0
    ]
    if not points:
        return None
    frame = Frame(
        title="Temperature",
        x_label="epoch of the topology search",
        y_label="temperature",
        y_text=lambda value, step: f"{10**value:.2g}",
    )
    return line_chart(frame, [Series("T", points, style=3)])


def entropy_chart(run: Run) -> Markup | None:
    """The mean entropy of the nodes' choices by cell kind: 1 undecided, 0 decided."""
    if not choices_of(run).distribution:
        return None  # nothing to take the entropy of
    series: dict[str, list[tuple[float, float]]] = {}
    for row in run.architecture_rows("topology"):
        for kind, nodes in row.beta.items():
            shares = [relative_entropy(node) for node in nodes if len(node) > 1]
            if shares:
                series.setdefault(kind, []).append((row.epoch + 1, sum(shares) / len(shares)))
    if not series:
        return None
    frame = Frame(
        title="Indecision: entropy of β",
        x_label="epoch of the topology search",
        y_label="relative entropy",
        y_range=(0, 1),
    )
    return line_chart(
        frame,
        [
            Series(kind_name(kind), points, style)
            for style, (kind, points) in enumerate(series.items())
        ],
    )


def stage_curves(run: Run) -> list[tuple[str, list[Markup], str]]:
    """Name, charts and caption of the search stages, then of all trained cells together."""
    result: list[tuple[str, list[Markup], str]] = []
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
    _add(result, "Training", series, caption)
    return result


def _add(
    result: list[tuple[str, list[Markup], str]],
    name: str,
    series: dict[str, list[Series]],
    caption: str,
) -> None:
    charts = []
    for key, lines in series.items():
        if any(line.points for line in lines):
            frame = Frame(title=_TITLES[key], x_label="epoch", y_label=_TITLES[key].lower())
            charts.append(line_chart(frame, lines))
    if charts:
        result.append((name, charts, caption))


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
