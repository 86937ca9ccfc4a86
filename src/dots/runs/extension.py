"""More epochs for a training that has ended.

The training goes on from its last checkpoint on the schedule of the longer training: the
learning rate and the drop path of epoch e are those that e has among all epochs, old and new.
It is not the training that so many epochs would have been from the start, whose rate falls more
slowly. The found cell and its baselines get the same epochs; the test is taken anew, and the
old result kept beside the new one.
"""

from __future__ import annotations

import math
from typing import Any

from dots.common.errors import UserError
from dots.common.records import EXTENSIONS, RESULT, TEST
from dots.recipe import Recipe
from dots.runs.directory import RunDirectory

KEPT = ("test_accuracy", "test_top5", "balanced_accuracy", "test_loss", "train_seconds")


def extended(recipe: Recipe, kind: str, epochs: int) -> Recipe:
    """The recipe with so many more epochs of training. Raises UserError for a search alone."""
    if kind not in ("run", "train"):
        raise UserError("--extend adds epochs to a training: this run is a search only")
    lengths = {name: getattr(recipe.train, name) for name in ("epochs", "published_epochs")}
    longer = {name: length and length + epochs for name, length in lengths.items()}
    train = recipe.train.model_copy(update=longer)
    return recipe.model_copy(update={"train": train})


def reopen(run: RunDirectory) -> None:
    """Forget the tests, so that the stages go on, and keep what they found.

    To be called before the recipe is changed: a run that dies in between is tested again.
    """
    if run.has(TEST) and run.has(RESULT):
        result = run.read_object(RESULT)
        entry = {"epochs": run.recipe.train.epochs, **{name: result.get(name) for name in KEPT}}
        before = earlier(run)
        if entry not in before:
            run.write_json(EXTENSIONS, [*before, entry])
    for path in (run.path / TEST, *run.path.glob("test-*.json")):
        path.unlink(missing_ok=True)


def earlier(run: RunDirectory) -> list[dict[str, Any]]:
    """The results before each extension, oldest first. Raises UserError for a damaged file."""
    if not run.has(EXTENSIONS):
        return []
    entries = run.read_json(EXTENSIONS)
    try:
        return [{name: _number(entry[name]) for name in ("epochs", *KEPT)} for entry in entries]
    except (KeyError, TypeError, ValueError):
        where = str(run.path / EXTENSIONS)
        raise UserError(f"{where!r} is damaged: expected earlier results of the run") from None


def _number(value: Any) -> float | int | None:
    if value is None or (isinstance(value, int | float) and math.isfinite(value)):
        return value
    raise ValueError
