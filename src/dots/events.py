"""The numbers of the metrics as TensorBoard events."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dots.files import telling_full_disk
from dots.jsonlines import Row


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
