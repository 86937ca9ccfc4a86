"""Tables on the terminal, with remarks below them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

PIPED_WIDTH = 200
"""Columns of a table that goes into a file or another program, where no terminal sets them."""


class Remarks:
    """Numbered remarks: what is said more than once is one remark."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def mark(self, remarks: Sequence[str]) -> str:
        """The numbers of these remarks, as "[1, 3]"; nothing for none."""
        for text in remarks:
            if text not in self.texts:
                self.texts.append(text)
        numbers = [str(self.texts.index(text) + 1) for text in remarks]
        return f"[{', '.join(numbers)}]" if numbers else ""


def millions(count: float | None, digits: int = 3) -> str:
    """A count in millions, without the unit; a dash where there is none."""
    return "-" if count is None else f"{count / 1e6:.{digits}f}"


def printed(figure: float | None) -> str:
    """A figure as it was printed, in millions (small ones have decimals); a dash for none."""
    if figure is None:
        return "-"
    return f"{figure:.1f}" if figure < 100 and figure == int(figure) else f"{figure:g}"


def print_table(table: Table, remarks: Remarks | None = None) -> None:
    """The table on standard output, then the remarks."""
    from rich.console import Console

    console = Console(
        width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False, markup=False
    )
    console.print(table)
    for number, text in enumerate(remarks.texts if remarks else (), start=1):
        console.print(f"[{number}] {text}")
