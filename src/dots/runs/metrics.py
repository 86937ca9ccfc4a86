"""The metrics of a run: JSON lines, and the same as CSV and in TensorBoard, with the result."""

from __future__ import annotations

import csv
import io
import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dots.common.files import telling_full_disk, write_text
from dots.common.records import METRICS, METRICS_TABLE
from dots.common.text import csv_cell
from dots.recipe import Recipe, flattened
from dots.runs.jsonlines import JsonLines, Row


class Scalars:
    """The numbers of the rows as TensorBoard events: tag "stage/name", step = epoch.

    The events are a view of the rows: `rebuild` writes them anew, so that a resumed run shows
    nothing twice. TensorBoard is imported at the first row.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: Any = None

    def add(self, row: Row) -> None:
        """Add the numbers of a row. Raises UserError where the disk is full."""
        with telling_full_disk(self.folder):
            if self._writer is None:
                self._writer = summary_writer(self.folder)
            for name, value in row.items():
                if name not in ("stage", "epoch") and isinstance(value, int | float):
                    self._writer.add_scalar(f"{row['stage']}/{name}", value, row["epoch"])

    def rebuild(self, rows: Iterable[Row]) -> None:
        """Replace all events by those of `rows`."""
        self.close()
        for events in self.folder.glob("events.out.tfevents.*"):
            events.unlink()
        for row in rows:
            self.add(row)
        self.flush()

    def flush(self) -> None:
        """Hand what is buffered to the system."""
        if self._writer is not None:
            with telling_full_disk(self.folder):
                self._writer.flush()

    def close(self) -> None:
        """Finish the event file; a later `add` begins another."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with telling_full_disk(self.folder):
                writer.close()


def summary_writer(folder: Path, suffix: str = "") -> Any:
    """A writer of events into a new file of `folder`, whose name ends in `suffix`."""
    with warnings.catch_warnings():  # its own imports use deprecated names
        warnings.simplefilter("ignore", DeprecationWarning)
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(folder), filename_suffix=suffix)


class Metrics:
    """The metrics in the run directory `folder`.

    metrics.jsonl is the record; metrics.csv and tensorboard/ are views of it that `sync` and
    `rewind` bring up to date. See JsonLines for what rows are and what is raised.
    """

    def __init__(self, folder: Path) -> None:
        self._lines = JsonLines(folder / METRICS)
        self._table = folder / METRICS_TABLE
        self._scalars = Scalars(folder / "tensorboard")

    def append(self, row: Row) -> None:
        """Add a row: "stage", "epoch" (from 0) and numbers of whatever name."""
        self._lines.append(row)
        self._scalars.add(row)

    def rows(self) -> list[dict[str, Any]]:
        """All whole rows, oldest first; nothing is changed on disk."""
        return self._lines.rows()

    def repair(self) -> None:
        """Cut off a torn last line."""
        self._lines.repair()

    def rewind(self, stage: str, epoch: int) -> None:
        """Forget the rows of this epoch and whatever followed, in all three places."""
        self._lines.rewind(stage, epoch)
        rows = self.rows()
        self._scalars.rebuild(rows)
        write_csv(self._table, rows)

    def sync(self) -> None:
        """Bring all rows to disk, and the views up to date."""
        self._lines.sync()
        self._scalars.flush()
        write_csv(self._table, self.rows())

    def close(self) -> None:
        """Finish the event file."""
        self._scalars.close()


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as CSV, atomically: the union of their columns in order of appearance.

    What a row lacks and what is null is empty; lists and objects are JSON.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if columns:
        writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in columns])
    write_text(path, text.getvalue())


def _cell(value: Any) -> Any:
    if isinstance(value, list | dict | bool):
        return json.dumps(value)
    return csv_cell(value) if isinstance(value, str) else value


_RESULT = ".result"
_SHOWN = ("test_accuracy", "balanced_accuracy", "test_loss", "parameters", "multiply_adds")


def write_board(folder: Path, recipe: Recipe, result: Mapping[str, Any]) -> None:
    """Replace the hyper-parameters in `folder` by those of a finished job.

    `result` is the content of result.json. Raises UserError where the disk is full.
    """
    with telling_full_disk(folder):
        for old in folder.glob(f"*{_RESULT}"):
            old.unlink()
        writer = summary_writer(folder, _RESULT)
        for summary in _hyper_parameters(recipe, result):
            writer.file_writer.add_summary(summary)
        for name in _SHOWN:
            if isinstance(result.get(name), int | float):
                writer.add_scalar(f"result/{name}", result[name])
        writer.close()


def _hyper_parameters(recipe: Recipe, result: Mapping[str, Any]) -> tuple[Any, ...]:
    """The summaries by which the hyper-parameter view knows a run."""
    values = {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in flattened(recipe)
    }
    metrics = {f"result/{n}": result[n] for n in _SHOWN if isinstance(result.get(n), int | float)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from torch.utils.tensorboard.summary import hparams

        return tuple(hparams(values, metrics))  # type: ignore[no-untyped-call]  # torch's
