"""A user's model as the strategies see a supernet, and its choices as a search space."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dots.common.errors import UserError
from dots.common.lazy import lazy
from dots.nas.own_models.choices import InputChoice, LayerChoice, input_choices, layer_choices
from dots.nas.strategies.base import SearchContext
from dots.networks.body import Shape
from dots.networks.supernet import EdgeFactory, MixedEdge, Mixture, Supernet
from dots.space.search_space import Candidates, CellSpec, SearchSpace

ABSENT = -1e4
"""α of a layer that a choice does not have: no softmax weighs it."""


@dataclass(frozen=True)
class ModelSpace(SearchSpace):
    """Layer choices as cell kinds of a single edge, whose operations are "0", "1", ...

    `layers` has, for each kind, the names of the layers, `columns` the places of those of each
    group. A choice of fewer layers than others has fewer candidates.
    """

    layers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    columns: Mapping[str, list[list[int]]] = field(default_factory=dict)

    @property
    def full_candidates(self) -> Candidates:
        return {
            kind: (self.operations[: len(self.layers[kind])],) if kind in self.layers else (("0",),)
            for kind in self.kinds
        }

    def labels(self, prefix: str) -> dict[str, str]:
        """From kinds to labels."""
        return {kind: label(kind) for kind in self.kinds if kind.startswith(prefix)}


LAYER, INPUTS = "layer:", "inputs:"
"""What the kinds of the two sorts of choices begin with."""


def label(kind: str) -> str:
    """The label of a kind."""
    return kind.partition(":")[2].replace("/", ".")


def _kind(prefix: str, label: str) -> str:
    return prefix + label.replace(".", "/")  # no name of a parameter has a dot


def model_space(model: nn.Module, *, inputs: bool) -> ModelSpace:
    """The layer choices of a model, with `inputs` the input choices too (Zero for operations)."""
    choices = {_kind(LAYER, name): found[0] for name, found in layer_choices(model).items()}
    layers = {kind: choice.names for kind, choice in choices.items()}
    others = [_kind(INPUTS, name) for name in input_choices(model)] if inputs else []
    most = max(map(len, layers.values()), default=1)
    return ModelSpace(
        name="a model of your own",
        cell=CellSpec(inputs=1, nodes=1, output="last"),
        kinds=(*layers, *others),
        operations=tuple(map(str, range(most))),
        skeleton="own",
        policy_edges=1,
        layers=layers,
        columns={
            kind: [[choice.names.index(name) for name in group] for group in choice.groups]
            for kind, choice in choices.items()
        },
    )


class ModelSupernet(Supernet):
    """A copy of a user's model whose choices mix as they are told.

    A mixture of a layer choice weighs its candidates, one of an input choice (under `edges`) its
    inputs; a choice without one mixes evenly. Weights are the model's own.
    """

    def __init__(self, space: ModelSpace, model: nn.Module, candidates: Candidates) -> None:
        nn.Module.__init__(self)  # there is no body of cells
        self.space = space
        self.candidates = candidates
        self.fast = self.low_memory = False
        self.model = deepcopy(model)
        layers, inputs = layer_choices(self.model), input_choices(self.model)
        self.layers = {_kind(LAYER, name): found for name, found in layers.items()}
        self.inputs = {_kind(INPUTS, name): found for name, found in inputs.items()}

    def forward(self, images: Tensor, mixtures: Mapping[str, Mixture]) -> Tensor:
        """What the model says of a batch under a mixture for each choice: logits [B, classes]."""
        try:
            for kind, mixture in mixtures.items():
                self._set(kind, mixture)
            logits: Tensor = self.model(images)
        finally:  # tensors of a graph must not stay in the modules
            for module in self.model.modules():
                if isinstance(module, LayerChoice | InputChoice):
                    module.mixing = None
        return logits

    def _set(self, kind: str, mixture: Mixture) -> None:
        if kind in self.inputs:
            assert mixture.edges is not None
            for place in self.inputs[kind]:
                place.mixing = mixture.edges.unbind()
            return
        names, weights = self.candidates[kind][0], mixture.operations[0].unbind()
        runs = mixture.active[0] if mixture.active else (True,) * len(names)
        found = zip(names, weights, runs, strict=False)  # a mixture may have more columns
        mixing = [(int(name), weight) for name, weight, on in found if on]
        for choice in self.layers[kind]:
            choice.mixing = mixing


@dataclass(frozen=True, kw_only=True)
class ModelContext(SearchContext):
    """What a strategy is given for a model: tables of α as wide as their choice has layers.

    With `padded` they are all as wide as the widest, as strategies that prune want them.
    `any_edge`: the strategy's own kind of edge makes no difference under its settings.
    """

    model: nn.Module
    padded: bool
    any_edge: bool

    @lazy
    def own(self) -> ModelSpace:
        """The space, as what it is."""
        assert isinstance(self.space, ModelSpace)
        return self.space

    def supernet(
        self,
        candidates: Candidates | None = None,
        *,
        shape: Shape | None = None,
        make_edge: EdgeFactory = MixedEdge,
        part: int = 0,
    ) -> Supernet:
        """The model as it was given; a later stage starts from the same weights."""
        if make_edge is not MixedEdge and not self.any_edge:
            raise UserError("this strategy needs the edges of a cell: choose another for a model")
        if candidates is None or not self.padded:
            candidates = self.own.full_candidates
        return self.engine.place_network(ModelSupernet(self.own, self.model, candidates))

    def group_columns(self, kind: str) -> list[list[int]]:
        return self.own.columns[kind]

    def parameters(
        self, columns: int | Mapping[str, int], spread: float, name: str = "alpha"
    ) -> nn.ParameterDict:
        wide = super().parameters(columns, spread, name)
        widths = {kind: len(names) for kind, names in self.own.layers.items()}
        if self.padded:
            with torch.no_grad():
                for kind, table in wide.items():
                    table[:, widths[kind] :] = ABSENT
            return wide
        narrow = {k: nn.Parameter(table[:, : widths[k]].clone()) for k, table in wide.items()}
        return self.engine.place(nn.ParameterDict(narrow))
