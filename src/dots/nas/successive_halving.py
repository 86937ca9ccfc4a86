"""Successive halving: several cells are trained briefly, the worse half leaves, the rest goes on.

After Jamieson and Talwalkar, "Non-stochastic best arm identification" (AISTATS 2016). A
supernet ranks cells of one size hardly better than chance; this ranks them by networks of their
own. They are trained on half A and judged on half B: no test image is involved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from time import monotonic
from typing import Any, Protocol

import torch
from torch import nn

from dots.common.records import Competitor, Halving, Validation
from dots.data import Batches
from dots.nas.finalists import Finalist
from dots.recipe.settings import HalvingSettings, TrainSettings
from dots.recipe.shares import with_epochs
from dots.training.engine import Engine, StepResult
from dots.training.evaluate import TestResult
from dots.training.loop import Pair, State
from dots.training.stage import TrainingStage

STATISTICS_BATCHES = 16
"""Of so many are the statistics of batch norms with which a network is judged."""
LARGEST_LOSS = 1e6
"""Stands for the loss of a network that has diverged: it leaves, the run goes on."""


class Judge(Protocol):
    """Classifies half B with a network."""

    def __call__(self, network: Any, /) -> TestResult: ...


@dataclass(frozen=True)
class Place:
    """Where an epoch of the stage lies: the round, who is trained, which of its epochs there."""

    round: int
    turn: int
    epoch: int
    epochs: int

    @property
    def last(self) -> bool:
        """Whether the network is judged after this epoch."""
        return self.epoch == self.epochs - 1


def places(rounds: Sequence[tuple[int, int]]) -> list[Place]:
    """Every epoch of the stage, in order; `rounds` as in HalvingSettings.rounds."""
    return [
        Place(number, turn, epoch, epochs)
        for number, (count, epochs) in enumerate(rounds)
        for turn in range(count)
        for epoch in range(epochs)
    ]


class SuccessiveHalving:
    """A stage whose epochs are those of all cells, one after the other, round after round.

    In each round a network goes through the learning-rate schedule of `settings` once, on the
    epochs of that round, from the weights of the round before. Its batch norms get statistics of
    its last weights before it is judged: rounds are short, and the running ones lag behind.
    `build` makes the network of a cell with new weights; `judge` takes a network in evaluation
    to half B.
    """

    name = "halving"

    def __init__(
        self,
        cells: Sequence[Finalist],
        halving: HalvingSettings,
        settings: TrainSettings,
        engine: Engine,
        batches: Batches,
        build: Callable[[Finalist], Any],
        judge: Judge,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.cells = cells
        self.settings = settings
        self.engine = engine
        self.own_batches = batches
        self.build = build
        self.judge = judge
        self.say = say
        self.rounds = halving.rounds(len(cells))
        self.places = places(self.rounds)
        self.epochs = len(self.places)
        self.steps = batches.steps
        self.alive = list(range(len(cells)))
        self.judged: list[list[tuple[float, float]]] = [[] for _ in cells]
        """(accuracy, loss) on half B of each cell, round by round."""
        self.networks: dict[int, Any] = {}
        self._training: TrainingStage | None = None
        self._epoch, self._current = 0, 0

    @property
    def lr(self) -> float:
        return self.training.lr

    @property
    def training(self) -> TrainingStage:
        """The training of the cell whose turn it is."""
        assert self._training is not None
        return self._training

    @property
    def winner(self) -> Finalist:
        """The cell that is left at the end, or would be first now."""
        return self.cells[self.alive[0]]

    @property
    def winner_network(self) -> Any:
        """Its network, as it was judged last. Raises KeyError before the end of a round."""
        return self.networks[self.alive[0]]

    def _begin_training(self, epoch: int) -> None:
        place = self.places[epoch]
        self._epoch, self._current = epoch, self.alive[place.turn]
        if self._current not in self.networks:
            self.networks[self._current] = self.build(self.cells[self._current])
        self._training = TrainingStage(
            self.networks[self._current],
            with_epochs(self.settings, place.epochs),
            self.engine,
            self.own_batches,
            self.name,
        )

    def batches(self, epoch: int, start: int) -> Iterator[Pair]:
        """The same for every cell of a round."""
        place = self.places[epoch]
        return self.training.batches(self.epochs_of(place.round) + place.epoch, start)

    def epochs_of(self, count: int) -> int:
        """Epochs that a cell has had after so many rounds."""
        return sum(epochs for _, epochs in self.rounds[:count])

    def begin_epoch(self, epoch: int) -> None:
        if self.places[epoch].epoch == 0:
            self._begin_training(epoch)
        self.training.begin_epoch(self.places[epoch].epoch)

    def set_epoch(self, epoch: int) -> None:
        self.training.set_epoch(self.places[epoch].epoch)

    def step(self, epoch: int, step: int, pair: Pair) -> StepResult:
        result = self.training.step(self.places[epoch].epoch, step, pair)
        loss = torch.nan_to_num(result.loss, LARGEST_LOSS, LARGEST_LOSS, LARGEST_LOSS)
        return StepResult(loss, result.correct, result.images)

    def end_epoch(self, epoch: int) -> dict[str, float]:
        place = self.places[epoch]
        index = self.alive[place.turn]
        row = {"round": place.round, "cell": index, **self.training.end_epoch(place.epoch)}
        if place.last:
            began = monotonic()
            network = self.training.module()
            pairs = islice(self.batches(epoch, 0), STATISTICS_BATCHES)
            self.engine.renew_statistics(network, (batch for batch, _ in pairs))
            result = self.judge(network)
            score = _score(result)
            self.judged[index].append(score)
            row |= {"validation_accuracy": score[0], "validation_loss": score[1]}
            row["validation_seconds"] = round(monotonic() - began, 3)
            if place.turn == len(self.alive) - 1:
                self._drop(place.round)
        return row

    def _drop(self, number: int) -> None:
        """The better half stays, best first; of equal cells those that were named earlier."""

        def order(index: int) -> tuple[float, float, int]:
            accuracy, loss = self.judged[index][-1]
            return -accuracy, loss, index

        ranked = sorted(self.alive, key=order)
        self.alive = ranked[: -(-len(ranked) // 2)]
        for index in ranked[len(self.alive) :]:
            del self.networks[index]
        self._training = None
        standing = ", ".join(
            f"{self.cells[index].origin} {100 * self.judged[index][-1][0]:.1f} %"
            for index in ranked
        )
        left = " and ".join(self.cells[index].origin for index in self.alive)
        self.say(f"round {number + 1} of the halving, on half B: {standing}; {left} left")

    def snapshot(self, epoch: int) -> dict[str, Any] | None:
        return None

    def current(self) -> None:
        """Which cell it is says the row."""

    def finished(self, epoch: int) -> bool:
        return False

    def module(self) -> nn.Module | None:
        """The network whose turn it is."""
        return None if self._training is None else self._training.module()

    def state(self) -> State:
        training, current = self._training, self._current
        others = {i: net for i, net in self.networks.items() if training is None or i != current}
        return {
            "alive": list(self.alive),
            "judged": [[list(score) for score in judged] for judged in self.judged],
            "networks": {str(i): net.state_dict() for i, net in others.items()},
            "epoch": self._epoch,
            "training": None if training is None else training.state(),
        }

    def load_state(self, state: State) -> None:
        self.alive = list(state["alive"])
        self.judged = [[(a, b) for a, b in judged] for judged in state["judged"]]
        self.networks = {
            int(index): self.build(self.cells[int(index)]) for index in state["networks"]
        }
        for index, network in self.networks.items():
            network.load_state_dict(state["networks"][str(index)])
        if state["training"] is not None:
            self._begin_training(state["epoch"])
            self.training.load_state(state["training"])


def _score(result: TestResult) -> tuple[float, float]:
    """(accuracy, loss); a network whose loss is no number has learned nothing."""
    if not math.isfinite(result.loss):
        return 0.0, LARGEST_LOSS
    return result.accuracy, min(result.loss, LARGEST_LOSS)


def epoch_seconds(row: Mapping[str, Any]) -> float:
    """What an epoch took by its row of the metrics, the judgement after it included."""
    return float(row["seconds"]) + float(row.get("validation_seconds", 0.0))


def halving_record(stage: SuccessiveHalving, rows: Sequence[Mapping[str, Any]]) -> Halving:
    """The content of halving.json: every cell, what it reached on half B, and its seconds.

    `rows` are the stage's metrics.
    """
    counted = [row for row in rows if row["stage"] == stage.name]

    def seconds(index: int) -> float:
        own = [row for row in counted if row["cell"] == index]
        return round(sum(map(epoch_seconds, own)), 3)

    return Halving(
        version=1,
        winner=stage.winner.origin,
        cells=[
            Competitor(
                origin=cell.origin,
                genotype=cell.genotype.to_json(),
                epochs=stage.epochs_of(len(judged)),
                validation=[Validation(accuracy=a, loss=b) for a, b in judged],
                seconds=seconds(index),
            )
            for index, (cell, judged) in enumerate(zip(stage.cells, stage.judged, strict=True))
        ],
    )
