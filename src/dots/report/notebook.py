"""What notebooks show: a page in its frame, facts beside a cell.

Text and lines take the colour of the notebook, light or dark; a report follows the reader's theme.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from dots.report.headline import tiles
from dots.report.page import report_html
from dots.report.reading import FOUND, read_run
from dots.space.drawing.svg import genotype_svg
from dots.space.genotype import Genotype

_CELL = 'style="text-align:left;padding:0.1em 1em 0.1em 0;border:0;background:none;color:inherit"'


@dataclass(frozen=True)
class Report:
    """The report of a run directory, shown in a notebook in a frame of its own."""

    path: Path

    def to_html(self) -> str:
        """The page as text, from the files as they are. Raises UserError where there is no run."""
        return report_html(read_run(self.path))

    def _repr_html_(self) -> str:
        page = escape(self.to_html(), quote=True)
        return f'<iframe srcdoc="{page}" style="width:100%;height:40em;border:0"></iframe>'


def run_html(path: Path) -> str:
    """The headline numbers of a run, and its cell. Raises UserError where there is no run."""
    run = read_run(path)
    rows = [
        (name, f"{value} ({remark})" if remark else value) for name, value, remark in tiles(run)
    ]
    return facts_html([*rows, ("Run directory", str(path))], run.genotypes.get(FOUND))


def facts_html(rows: Sequence[tuple[str, str]], genotype: Genotype | None = None) -> str:
    """Names and values as a table, above the drawing of the cell where there is one."""
    lines = [
        f'<tr><th scope="row" {_CELL}>{escape(name)}</th><td {_CELL}>{escape(value)}</td></tr>'
        for name, value in rows
    ]
    drawing = "" if genotype is None else genotype_svg(genotype)
    return f'<div><table style="border:0">{"".join(lines)}</table>{drawing}</div>'
