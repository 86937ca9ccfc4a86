"""What another person needs to run it again: the command, the recipe, the versions."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from dots.common import records
from dots.report.reading import Run
from dots.report.wording import number, visible

_MISSING = {
    records.RECIPE: "the settings",
    records.ENVIRONMENT: "the command and the versions",
    records.DATA: "the description of the data",
    records.METRICS: "the curves",
    records.CANDIDATES: "the operations kept on each edge",
    records.ARCHITECTURE: "α, β and γ over time",
    records.GENOTYPE: "the found cell",
    records.SAMPLES: "the images",
    records.TEST: "the confusion matrix",
    records.RESULT: "the final numbers",
}
_SEARCH = (records.CANDIDATES, records.ARCHITECTURE)


Settings = tuple[str, list[tuple[str, str]]]
"""A heading, and names and values as text."""


def command(run: Run) -> str | None:
    """The command line that started the run, or None where it was not recorded."""
    value = run.environment.get("command")
    if isinstance(value, str) and value:
        return value
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return shlex.join(value)
    return None


def settings_tables(run: Run) -> list[Settings]:
    """The recipe: its plain settings first, then those of each part; then the environment.

    Of environment.json all but the command.
    """
    plain = [
        (key, number(value)) for key, value in run.recipe.items() if not isinstance(value, Mapping)
    ]
    tables = [("General", plain)]
    for key, value in run.recipe.items():
        if isinstance(value, Mapping) and value:
            tables.append((visible(key).capitalize(), list(flat(value))))
    if run.recipe:
        rows = [row for row in flat(run.environment) if row[0] != "command"]
        tables.append(("Environment", rows))
    return [table for table in tables if table[1]]


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as dotted names with their values as text."""
    for key, value in values.items():
        name = f"{prefix}{visible(str(key))}"
        if isinstance(value, Mapping):
            yield from flat(value, f"{name}.")
        else:
            yield name, number(value)


def missing_files(run: Run) -> list[tuple[str, str]]:
    """The files that the run lacks so far, each with what the page cannot show without it.

    A run that trained a given cell has none of the search, and lacks nothing by that.
    """
    given = run.result is not None and not run.architecture
    expected = {name: what for name, what in _MISSING.items() if not given or name not in _SEARCH}
    return [(name, what) for name, what in expected.items() if not (run.path / name).is_file()]
