"""Stages that did not learn: a training begins again with a smaller learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dots.common.errors import UserError
from dots.nas.plan import Plan
from dots.networks.specification import Network, NetworkSpec
from dots.recipe import TrainSettings
from dots.runs import builders
from dots.runs.directory import RunDirectory
from dots.runs.further_training import INITIAL, start_from
from dots.training.loop import NonFiniteLossError, Stage

if TYPE_CHECKING:
    from dots.runs.session import Session


DEVIATIONS = 2.33
"""Above chance at the 1 % level, one-sided."""

LAST = 0.25
"""The share of the epochs, at the end of a stage, that is judged."""


@dataclass(frozen=True)
class Chance:
    """What the best constant prediction reaches on training images: accuracy, mean loss.

    The loss is the least that any constant prediction has. `accuracy` is None where the loss
    weighs the classes: guessing the commonest one is then no measure.
    """

    accuracy: float | None
    loss: float

    def bound(self, images: int) -> float | None:
        """The accuracy on so many images that constant predictions exceed in 1 % of cases."""
        if self.accuracy is None:
            return None
        deviation = math.sqrt(self.accuracy * (1 - self.accuracy) / images)
        return self.accuracy + DEVIATIONS * deviation


def chance(
    labels: Tensor,
    classes: int,
    *,
    smoothing: float = 0.0,
    weights: Tensor | None = None,
    auxiliary: float = 0.0,
) -> Chance:
    """Chance on images with these `labels` [N], for the loss that a stage is trained with.

    `smoothing` is that of the labels, `weights` [classes] those of the loss, `auxiliary` the
    weight of a second classifier's loss. With c_k = w_k·((1 - s)·share_k + s/K) the loss of a
    constant prediction q is -Σ c_k log q_k, which is least at q = c/Σc.
    """
    shares = torch.bincount(labels, minlength=classes).double() / len(labels)
    scale = torch.ones(classes).double() if weights is None else weights.double().cpu()
    c = scale * ((1 - smoothing) * shares + smoothing / classes)
    loss = float(-torch.special.xlogy(c, c / c.sum()).sum())
    return Chance(float(shares.max()) if weights is None else None, (1 + auxiliary) * loss)


def unlearned(rows: Sequence[Mapping[str, Any]], images: int, by: Chance) -> str:
    """Why the last epochs of a stage are no better than chance, in words; "" where they are.

    `rows` are the stage's metrics, one an epoch of `images` images each.
    """
    last = rows[-math.ceil(LAST * len(rows)) :] if rows else []
    if not last:
        return ""
    accuracy = sum(float(row["accuracy"]) for row in last) / len(last)
    loss = sum(float(row["loss"]) for row in last) / len(last)
    bound = by.bound(images * len(last))
    if bound is not None and accuracy <= bound:
        return f"its training accuracy, {accuracy:.2%}, is that of chance ({by.accuracy:.2%})"
    if loss >= by.loss:
        return f"its training loss, {loss:.3f}, is no lower than by chance ({by.loss:.3f})"
    return ""


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
