"""What TensorBoard shows beside the scalars of the epochs: hyper-parameters and results."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dots.common.files import telling_full_disk
from dots.recipe import Recipe, flattened
from dots.runs.metrics import summary_writer

SUFFIX = ".result"
METRICS = ("test_accuracy", "balanced_accuracy", "test_loss", "parameters", "multiply_adds")


def write_board(folder: Path, recipe: Recipe, result: Mapping[str, Any]) -> None:
    """Replace the hyper-parameters and results in `folder` by those of a finished job.

    `result` is the content of result.json. Raises UserError where the disk is full.
    """
    with telling_full_disk(folder):
        for old in folder.glob(f"*{SUFFIX}"):
            old.unlink()
        writer = summary_writer(folder, SUFFIX)
        for summary in _hyper_parameters(recipe, result):
            writer.file_writer.add_summary(summary)
        for name in METRICS:
            if isinstance(result.get(name), int | float):
                writer.add_scalar(f"result/{name}", result[name])
        writer.close()


def _hyper_parameters(recipe: Recipe, result: Mapping[str, Any]) -> tuple[Any, ...]:
    """The summaries by which the hyper-parameter view knows a run."""
    values = {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in flattened(recipe)
    }
    metrics = {f"result/{n}": result[n] for n in METRICS if isinstance(result.get(n), int | float)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from torch.utils.tensorboard.summary import hparams

        return tuple(hparams(values, metrics))  # type: ignore[no-untyped-call]  # torch's
