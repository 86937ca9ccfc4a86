"""restarts.json: trainings that did not learn and began again with a smaller learning rate."""

from __future__ import annotations

from typing import Any

from dots.common.errors import UserError
from dots.recipe import TrainSettings
from dots.runs.directory import RunDirectory

RESTARTS = "restarts.json"
MOST = 2
FACTOR = 4.0
FEWEST_STEPS = 50
"""A training of fewer steps may be at chance because it has hardly begun."""


def restarts(run: RunDirectory, stage: str) -> list[dict[str, Any]]:
    """The attempts of a stage that did not learn, oldest first.

    Raises UserError for a damaged file.
    """
    content = run.read_object(RESTARTS) if run.has(RESTARTS) else {}
    attempts = content.get(stage, [])
    if not isinstance(attempts, list) or len(attempts) > MOST:
        where = str(run.path / RESTARTS)
        raise UserError(f"{where!r} is damaged: delete it, and the run begins {stage} anew")
    return attempts


def record_restart(run: RunDirectory, stage: str, attempt: dict[str, Any]) -> None:
    """Add an attempt that did not learn; what it left is not resumed any more."""
    content = run.read_object(RESTARTS) if run.has(RESTARTS) else {}
    run.write_json(RESTARTS, {**content, stage: [*restarts(run, stage), attempt]})


def slowed(settings: TrainSettings, attempts: int) -> TrainSettings:
    """The settings after so many attempts: a quarter of the learning rate for each."""
    factor = FACTOR**attempts
    rates = {"lr": settings.lr / factor, "lr_min": settings.lr_min / factor}
    return settings.model_copy(update=rates)
