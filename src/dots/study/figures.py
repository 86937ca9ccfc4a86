"""Figures of studies, by matplotlib without a display."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dots.common.files import write_bytes
from dots.study.statistics import summarise

_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#777777"


def save(path: Path, width: float, height: float, draw: Callable[[Any], None]) -> None:
    """Draw on a figure of so many inches and write it, atomically, as its suffix says."""
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure)
    content = io.BytesIO()
    metadata = {"Date": None} if path.suffix == ".svg" else None  # the same study, the same file
    figure.savefig(content, format=path.suffix.lstrip("."), dpi=150, metadata=metadata)
    write_bytes(path, content.getvalue())


def dots(
    path: Path,
    groups: Sequence[tuple[str, Sequence[float]]],
    references: Mapping[str, float],
    title: str,
) -> None:
    """Groups of accuracies (fractions), one below the other: seeds, mean and 95 % interval."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for place, (_, values) in enumerate(groups):
            _group(axes, place, values)
        for place, (name, accuracy) in enumerate(references.items()):
            style = ("--", ":")[place % 2]
            axes.axvline(100 * accuracy, color=_GREY, linestyle=style, linewidth=1, label=name)
        axes.set_yticks(range(len(groups)), [name for name, _ in groups])
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.set_xlabel("accuracy, %")
        axes.set_title(title, fontsize=10)
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        if references:
            axes.legend(fontsize=7, loc="best")

    save(path, 7.0, 1.2 + 0.3 * max(len(groups), 3), draw)


def _group(axes: Any, place: int, values: Sequence[float]) -> None:
    percent = [100 * value for value in values]
    found = summarise(percent)
    if found is None:
        axes.annotate(
            "no result", (0.02, place), xycoords=("axes fraction", "data"),
            va="center", fontsize=8, color=_GREY,
        )  # fmt: skip
        return
    axes.scatter(percent, [place] * len(percent), s=14, color=_BLUE, alpha=0.6, zorder=2)
    if found.low is not None and found.high is not None:
        reach = found.high - found.mean
        axes.errorbar(
            found.mean, place + 0.18, xerr=reach, fmt="|", color=_ORANGE, capsize=3, zorder=3
        )


@dataclass(frozen=True)
class Panel:
    """A scatter of accuracies (fractions) over scores; `noise` are standard deviations."""

    title: str
    scores: Sequence[float]
    accuracies: Sequence[float]
    noise: Sequence[float] | None = None
    classes: Sequence[str] | None = None
    """What tells points apart by colour, such as the number of edges."""


def panels(path: Path, grid: Sequence[Sequence[Panel]], title: str, x_label: str = "score") -> None:
    """Panels in rows, as in the paper's Fig. 1."""
    columns = max(len(row) for row in grid)

    def draw(figure: Any) -> None:
        figure.suptitle(title, fontsize=10)
        axes = figure.subplots(len(grid), columns, squeeze=False)
        for row, panels_ in zip(axes, grid, strict=True):
            for place, cell in enumerate(row):
                if place < len(panels_):
                    _panel(cell, panels_[place], x_label)
                else:
                    cell.set_axis_off()
            row[0].set_ylabel("accuracy, %", fontsize=8)

    save(path, 2.5 * columns + 0.4, 2.3 * len(grid) + 0.5, draw)


def _panel(axes: Any, panel: Panel, x_label: str) -> None:
    from matplotlib import colormaps

    percent = [100 * accuracy for accuracy in panel.accuracies]
    if panel.noise is not None:
        reach = [100 * deviation for deviation in panel.noise]
        axes.errorbar(panel.scores, percent, yerr=reach, fmt="none", ecolor=_GREY, elinewidth=0.8)
    names = list(dict.fromkeys(panel.classes or ["all"]))
    for place, name in enumerate(sorted(names)):
        chosen = [i for i in range(len(percent)) if not panel.classes or panel.classes[i] == name]
        colour = colormaps["viridis"](place / max(1, len(names) - 1)) if panel.classes else _BLUE
        axes.scatter(
            [panel.scores[i] for i in chosen], [percent[i] for i in chosen],
            s=16, color=colour, zorder=3, label=name,
        )  # fmt: skip
    if panel.classes:
        axes.legend(fontsize=5, loc="best", handletextpad=0.1, borderpad=0.2)
    axes.set_title(panel.title, fontsize=8)
    axes.set_xlabel(x_label, fontsize=7)
    axes.tick_params(labelsize=6)
    axes.grid(color="#eeeeee", linewidth=0.5)
