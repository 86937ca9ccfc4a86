"""Stages that did not learn: a training begins again with a smaller learning rate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dots.common.errors import UserError
from dots.nas.plan import Plan
from dots.networks.specification import Network, NetworkSpec
from dots.recipe import TrainSettings
from dots.runs import builders
from dots.runs.directory import RunDirectory
from dots.runs.further_training import INITIAL, start_from
from dots.training.chance import chance, unlearned
from dots.training.loop import NonFiniteLossError, Stage

if TYPE_CHECKING:
    from dots.runs.session import Session

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


def train_until_learned(
    session: Session, plan: Plan, network_spec: NetworkSpec, stage_name: str, asked: TrainSettings
) -> Network:
    """The trained network; one that did not learn begins again with a smaller learning rate."""
    run, engine = session.run, session.engine
    while True:
        attempt = len(restarts(run, stage_name))
        settings = slowed(asked, attempt)
        network = builders.new_network(plan, network_spec, stage_name)
        if stage_name == "train" and run.has(INITIAL):
            start_from(network, run.path / INITIAL)
        batches = session.images.batches
        stage = builders.training_stage(settings, engine, network, batches, stage_name)
        last = attempt == MOST or stage.epochs * stage.steps < FEWEST_STEPS
        try:
            session.loop.run(stage, attempt)
            reason = _unlearned(session, stage_name, "all", settings)
        except NonFiniteLossError:
            if last:
                raise
            reason = "its loss was not finite"
        if not reason:
            return network
        begin = f"{stage_name} at a learning rate of {settings.lr:g} did not learn: {reason}"
        if last:
            session.note(f"{begin}; its network is no result")
            return network
        # First the notice: a run that dies before the record comes here again.
        session.note(f"{begin}; it began again at {slowed(asked, attempt + 1).lr:g}")
        if run.writes:
            record_restart(run, stage_name, {"lr": settings.lr, "reason": reason})
        engine.processes.barrier()


def note_unlearned_search(session: Session, stage: Stage, images: builders.Images) -> None:
    """Say of a search over these images that it did not learn.

    One of few steps is not accused: its accuracy is that of weights which have hardly begun.
    """
    if stage.epochs * stage.steps < FEWEST_STEPS:
        return
    reason = _unlearned(session, stage.name, images)
    if reason:
        session.note(
            f"the search of the {stage.name} did not learn: {reason}; "
            "its choice is no better than a random one"
        )


def _unlearned(
    session: Session,
    stage_name: str,
    images: builders.Images,
    training: TrainSettings | None = None,
) -> str:
    """Why a stage is no better than chance, or "".

    The loss of a search holds more than that of the classes, so its accuracy alone counts.
    """
    labels = session.images.data.train.labels[session.images.rows(images)]
    by = chance(
        labels,
        len(session.images.info.classes),
        smoothing=training.label_smoothing if training else 0.0,
        weights=session.engine.class_weights,
        auxiliary=training.auxiliary if training else math.inf,
    )
    rows = [row for row in session.run.metrics.rows() if row["stage"] == stage_name]
    return unlearned(rows, len(labels), by)
