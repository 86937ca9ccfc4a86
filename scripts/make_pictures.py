"""Makes the pictures of docs/search.md from a real search on the digits: minutes on one core.

Usage: python scripts/make_pictures.py [RUN]. With RUN, a search that was made by it before
(it prints where), the pictures are made anew without searching.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from markupsafe import Markup

import dots
from dots.common.files import write_text
from dots.report.charts.lines import Frame, Series, line_chart
from dots.report.curves import panels, temperature_chart
from dots.report.reading import Run, read_run
from dots.report.wording import operation
from dots.space.cell import Cell, Edge
from dots.space.drawing.svg import cell_svg
from dots.space.genotype import Genotype
from dots.space.search_space import DARTS_OPERATIONS, ZERO, darts_space

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
NODES = 3
SETTINGS = (
    f"nodes={NODES}", "baselines=[]", "operations.epochs=24", "operations.weight_epochs=4",
    "operations.cells=3", "topology.epochs=30", "topology.weight_epochs=0", "topology.cells=3",
)  # fmt: skip
EDGE = 8
"""The edge whose α is shown, one of the last node's, in the normal cell."""
TITLES = ("α of one edge: topology-related", "α of the same edge: convolutions")

STYLE = """
svg { color-scheme: light dark; font-family: system-ui, sans-serif;
  --fg: #1b1f24; --muted: #57606a; --line: #d5dae0;
  --c0: #0b5cad; --c1: #b93a0a; --c2: #0f766e; --c3: #7c3aed; --c4: #8a5a00; --c5: #4b5563; }
@media (prefers-color-scheme: dark) { svg { --fg: #e6e9ed; --muted: #a3adb8; --line: #363e48;
  --c0: #7ab8ff; --c1: #ff9d70; --c2: #5fd3c4; --c3: #c4a7ff; --c4: #e5c063; --c5: #b3bcc7; } }
text { font-size: 11px; fill: var(--fg); }
text.chart-title { font-size: 12.5px; font-weight: 600; }
text.tick, text.axis-label, text.mark-label { fill: var(--muted); font-size: 10.5px; }
.grid { stroke: var(--line); stroke-width: 0.7; } .axis { stroke: var(--muted); }
.mark { stroke: var(--c1); stroke-width: 1.2; stroke-dasharray: 4 3; }
.leader { stroke: var(--muted); stroke-width: 0.7; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.line.quiet { stroke: var(--muted); stroke-width: 0.8; opacity: 0.45; }
.line.s0 { stroke: var(--c0); } .line.s1 { stroke: var(--c1); stroke-dasharray: 7 4; }
.line.s2 { stroke: var(--c2); stroke-dasharray: 2 4; }
.line.s3 { stroke: var(--c3); stroke-dasharray: 10 3 2 3; }
.line.s4 { stroke: var(--c4); stroke-dasharray: 4 2; }
.line.s5 { stroke: var(--c5); stroke-dasharray: 1 3; }
.point.s0 { fill: var(--c0); } .point.s1 { fill: var(--c1); } .point.s2 { fill: var(--c2); }
.point.s3 { fill: var(--c3); } .point.s4 { fill: var(--c4); } .point.s5 { fill: var(--c5); }
text.label.s0 { fill: var(--c0); } text.label.s1 { fill: var(--c1); }
text.label.s2 { fill: var(--c2); } text.label.s3 { fill: var(--c3); }
text.label.s4 { fill: var(--c4); } text.label.s5 { fill: var(--c5); }
"""


def standalone(chart: Markup) -> str:
    """A chart of a report as a file of its own."""
    opened = str(chart).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    head, _, rest = opened.partition(">")
    return f"{head}><style>{STYLE}</style>{rest}\n"


def every_candidate(names: tuple[str, ...] | list[list[str]]) -> Cell:
    """The cell of a supernet: all candidates of every edge, Zero left out."""
    space = darts_space(NODES)
    kept = names if isinstance(names, list) else [list(names)] * len(space.cell.edges)
    nodes = tuple(
        tuple(
            Edge(op, space.cell.edges[index][0]) for index in incoming for op in kept[index]
            if op != ZERO
        )
        for incoming in space.cell.incoming
    )  # fmt: skip
    return Cell(nodes, space.cell.concat)


def operation_weights(run: Run, group: tuple[str, ...], title: str) -> Markup:
    """α of one edge over the epochs of the operation search, for one group of operations."""
    rows = run.architecture_rows("operations")
    series = []
    for style, name in enumerate(group):
        column = DARTS_OPERATIONS.index(name)
        points = [(row.epoch + 1, row.alpha["normal"][EDGE][column]) for row in rows]
        series.append(Series(operation(name), points, style))
    frame = Frame(
        title=title,
        x_label="epoch of the operation search",
        y_label="weight",
        label_room=92,
        y_range=(0.15, 0.35),
    )
    return line_chart(frame, series)


def pictures(path: Path) -> Mapping[str, str]:
    """All pictures by file name, from a run directory."""
    run = read_run(path)
    kept = json.loads((path / "candidates.json").read_text())["candidates"]["normal"]
    found = Genotype.load(path / "genotype.json").cells["normal"]
    normal = next(panel for panel in panels(run) if panel.kind == "normal")
    temperature = temperature_chart(run)
    assert temperature is not None
    drawn = {
        "stage-1-kept.svg": cell_svg(every_candidate(kept), title="what the operation search kept"),
        "stage-2-cell.svg": cell_svg(found, title="what the topology search kept"),
        "temperature.svg": standalone(temperature),
    }
    groups = darts_space(NODES).groups_for("v2")
    for number, (group, title) in enumerate(zip(groups, TITLES, strict=True), start=1):
        drawn[f"operation-weights-{number}.svg"] = standalone(operation_weights(run, group, title))
    for node, chart in enumerate(normal.nodes, start=NODES - len(normal.nodes)):
        drawn[f"topology-node-{node}.svg"] = standalone(chart)
    return drawn


def main() -> None:
    """Search where no run is named, then write the pictures."""
    torch_threads()
    if len(sys.argv) > 1:
        path = Path(sys.argv[1])
    else:
        path = Path(tempfile.mkdtemp()) / "run"
        dots.search("digits", dots.build_recipe("quick", overrides=SETTINGS), out=path)
        print(f"search: {path}")
    for name, text in pictures(path).items():
        write_text(PICTURES / name, text)
        print(PICTURES / name)


def torch_threads() -> None:
    """One thread, so that the numbers do not depend on the machine's load."""
    import torch

    torch.set_num_threads(1)


if __name__ == "__main__":
    main()
