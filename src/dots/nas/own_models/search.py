"""Both stages on a model of the user's own, and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from torch import nn

from dots.common.errors import UserError, shown
from dots.nas.operation_search import OperationStage
from dots.nas.own_models.choices import Choices, derive
from dots.nas.own_models.images import Halves, Images
from dots.nas.own_models.network import (
    INPUTS,
    LAYER,
    ModelContext,
    ModelSpace,
    ModelSupernet,
    model_space,
)
from dots.nas.own_models.topology import ModelTopology, ModelTopologyStage
from dots.nas.plan import check_combination, read_settings
from dots.nas.strategies import find_strategy
from dots.nas.strategies.base import MethodSettings, OperationSearch, ScoreTable
from dots.nas.strategies.shared.progressive import PruningSearch
from dots.networks.body import Shape
from dots.recipe import PRESETS
from dots.recipe.settings import OperationSettings, SearchSettings, TopologySettings
from dots.space.search_space import Candidates
from dots.training.engine import Engine
from dots.training.loop import Loop, State
from dots.training.processes import Processes, find_device

Row = Mapping[str, Any]
Settings = TypeVar("Settings", bound=SearchSettings)
Strategy = str | type[OperationSearch]

WITHOUT_CELL: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "asap": {},
        "beta-darts": {},
        "darts": {},
        "darts-2nd": {},
        "dr-nas": {"k": (1, 1)},
        "fair-darts": {},
        "gdas": {},
        "oles": {},
        "proxyless-nas": {"resource": "none"},
        "random": {},
        "sdarts-adv": {},
        "sdarts-rs": {},
        "shapley-nas": {},
        "snas": {"drop_path": 0.0, "resource": "none"},
    }
)
"""The strategies that need no cell, with the settings under which they need none."""


@dataclass(frozen=True)
class Outcome:
    """What a search found in a model.

    `scores` are those of the operation search: by label, how good each layer is. `rows` are the
    epochs of both stages: stage, epoch, seconds, loss, accuracy and what else is recorded.
    """

    model: nn.Module = field(repr=False)
    choices: Choices
    scores: Mapping[str, Mapping[str, float]]
    rows: tuple[Row, ...] = field(repr=False)

    def network(self) -> nn.Module:
        """The plain network with the weights of the given model, to be trained from scratch."""
        return derive(self.model, self.choices)


def search(
    model: nn.Module,
    images: Images,
    *,
    strategy: Strategy = "darts",
    method: Mapping[str, Any] | None = None,
    operations: Mapping[str, Any] | None = None,
    topology: Mapping[str, Any] | None = None,
    retain: int = 2,
    seed: int = 0,
    device: str | None = None,
    precision: str = "32",
    workers: int = 0,
    told: Callable[[Row], object] | None = None,
) -> Outcome:
    """Decide every LayerChoice and InputChoice of a classifier; the model itself is left alone.

    The operation search (Sec. 4.2) trains w on one half of `images`, (image, label) pairs whose
    tensors stack, and α on the other; the `retain` best layers of each choice go on, or the
    best of each group. The
    topology search (Sec. 4.1) trains β over the inputs, α' over these layers, and new w by one
    gradient on all images (Eq. 10), while the temperature falls (Eq. 9). A stage without
    anything to decide is left out.

    `operations` and `topology` change settings of the stages, which are else those of the
    preset "small"; what concerns cells or how images are read means nothing here. `method` are
    the strategy's own. `told` hears of every epoch. Nothing is written to disk.

    Raises UserError for a strategy that needs a cell, and for settings, a model or images that
    do not fit.
    """
    layers, everything = model_space(model, inputs=False), model_space(model, inputs=True)
    if not everything.kinds:
        raise UserError("the model has nothing to choose: give it a LayerChoice or an InputChoice")
    if retain < 1:
        raise UserError(f"retain = {shown(retain)}: keep at least one layer of each choice")
    chosen, own = _strategy(strategy, method or {})
    small = PRESETS["small"]()
    first = _settings("operations", small.operations, operations or {})
    second = _settings("topology", small.topology, topology or {})
    chosen.check(layers, first, own)
    check_combination(chosen, first)
    engine = Engine(Processes.single(find_device(device)), precision=precision)
    halves = Halves(images, seed, engine.device, workers)
    classes = _classes(model, halves, engine)
    journal = _Rows(told)
    loop = Loop(seed, engine.processes, journal, _Nobody(), lambda: None)

    scores: ScoreTable = {}
    if layers.kinds:
        context = ModelContext(
            layers, Shape(1, 1, 1, classes), first, engine, seed, (layers.operations,), 1,
            fast=False, model=model, padded=issubclass(chosen, PruningSearch),
            any_edge=chosen.name in WITHOUT_CELL,
        )  # fmt: skip
        operation_stage = _operation_stage(chosen(context, own), first, halves)
        loop.run(operation_stage)
        scores = operation_stage.strategy.scores()
    candidates = _retained(everything, scores, retain)
    stage = topology_stage(everything, model, candidates, second, engine, halves)
    if everything.labels(INPUTS) or any(len(names) > 1 for (names,) in candidates.values()):
        loop.run(stage)
        if second.select == "average":
            stage.average()
    named = {label: (scores[kind][0], layers.layers[kind]) for kind, label in _labels(layers)}
    return Outcome(
        model,
        stage.chosen(),
        {label: dict(zip(names, row, strict=False)) for label, (row, names) in named.items()},
        tuple(journal.rows),
    )


def topology_stage(
    space: ModelSpace,
    model: nn.Module,
    candidates: Candidates,
    settings: TopologySettings,
    engine: Engine,
    halves: Halves,
) -> ModelTopologyStage:
    """The topology search of a model, with the layers of `candidates`."""
    batches = halves.batches("half A" if settings.held_out else "all", settings.batch)
    return ModelTopologyStage(
        space,
        candidates,
        ModelTopology(space, model, settings),
        engine.place_network(ModelSupernet(space, model, candidates)),
        settings,
        engine,
        batches,
        halves.batches("half B", settings.batch) if settings.held_out else None,
        weight_batches=halves.batches("half A", settings.batch) if settings.weight_half else None,
    )


class ModelOperationStage(OperationStage):
    """The operation search of a model: the same steps, and no cell to derive."""

    def current(self) -> None:  # type: ignore[override]
        return None


def _operation_stage(
    strategy: OperationSearch, settings: OperationSettings, halves: Halves
) -> ModelOperationStage:
    own = halves.batches("all" if strategy.one_level else "half A", settings.batch)
    other = None if strategy.one_level else halves.batches("half B", settings.batch)
    return ModelOperationStage(strategy, settings.epochs, own, other)


def _labels(space: ModelSpace) -> list[tuple[str, str]]:
    return list(space.labels(LAYER).items())


def _retained(space: ModelSpace, scores: ScoreTable, count: int) -> Candidates:
    """The `count` best layers of each choice, of several groups the best of each; in order."""
    kept = dict(space.full_candidates)
    for kind, (row,) in scores.items():
        groups, (names,) = space.columns[kind], kept[kind]
        each = count if len(groups) == 1 else 1
        best = [p for group in groups for p in sorted(group, key=lambda p: -row[p])[:each]]
        kept[kind] = (tuple(names[place] for place in sorted(best)),)
    return kept


def _strategy(
    given: Strategy, method: Mapping[str, Any]
) -> tuple[type[OperationSearch], MethodSettings]:
    chosen = find_strategy(given) if isinstance(given, str) else given
    if isinstance(given, str) and given not in WITHOUT_CELL:
        raise UserError(
            f"the strategy {given!r} needs the edges of a cell: choose {', '.join(WITHOUT_CELL)}"
        )
    fixed = WITHOUT_CELL.get(chosen.name, {})
    for name in fixed:
        if method.get(name, fixed[name]) != fixed[name]:
            raise UserError(
                f"method.{name} of {chosen.name!r} needs the edges of a cell: leave it out"
            )
    return chosen, read_settings(chosen, {**method, **fixed})


def _settings(stage: str, default: Settings, changes: Mapping[str, Any]) -> Settings:
    """`default` with changes, and no more weight-only epochs than a third of the epochs."""
    values = default.model_dump() | {"lr_epochs": None, "lr_offset": 0, **changes}
    if type(values["epochs"]) is int and "weight_epochs" not in changes:
        values["weight_epochs"] = min(default.weight_epochs, values["epochs"] // 3)
    try:
        made = type(default).model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, (stage, *first["loc"])))
        raise UserError(f"{name} = {shown(first['input'])}: {first['msg']}") from None
    if made.select not in ("argmax", "average"):  # type: ignore[attr-defined]
        raise UserError(f"{stage}.select chooses in a cell: leave it at argmax for a model")
    return made


@torch.no_grad()
def _classes(model: nn.Module, halves: Halves, engine: Engine) -> int:
    """How many classes the model tells apart. Raises UserError where it is no classifier."""
    batch = next(halves.batches("all", 2).epoch(0))
    logits = engine.place(deepcopy(model)).eval()(engine.input(batch.images))
    if getattr(logits, "ndim", 0) != 2 or len(logits) != len(batch.labels):
        raise UserError("the model is no classifier: it must give logits [images, classes]")
    return int(logits.shape[1])


class _Rows:
    """Keeps the epochs of both stages; nothing of them is on disk to go on from."""

    def __init__(self, told: Callable[[Row], object] | None) -> None:
        self.rows: list[Row] = []
        self.told = told

    def resume_point(self, stage: str, attempt: int) -> State | None:
        return None

    def save(self, stage: str, epoch: int, step: int, state: State) -> None:
        """There is nowhere to save it."""

    def epoch_done(self, row: dict[str, Any], snapshot: dict[str, Any] | None) -> None:
        self.rows.append(row)
        if self.told is not None:
            self.told(row)


class _Nobody:
    """Nobody watches."""

    def stage_started(self, name: str, epochs: int, steps: int, done: int) -> None: ...
    def stepped(self, epoch: int, step: int) -> None: ...
    def epoch_done(self, row: dict[str, Any], genotype: object) -> None: ...
    def stage_done(self, name: str) -> None: ...
