"""What is left open in a model: which of some layers, and which of some inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeVar

from torch import Tensor, nn

from dots.common.errors import UserError, did_you_mean, shown
from dots.space.edge_combinations import EdgeChoice
from dots.space.retain import without_single

Input = Tensor | Callable[[], Tensor]
"""A tensor, or a function that makes it: one that is not chosen is then never computed."""
Choice = TypeVar("Choice", "LayerChoice", "InputChoice")
MOST_INPUTS = 12
"""Combinations grow as 2^n."""


class LayerChoice(nn.Module):
    """A choice among named layers, mixed while it is open (Eq. 1).

    All take the same arguments and return tensors of one shape. Outside a search every layer
    weighs the same. Choices with one `label` are decided together, as the cells of a kind are;
    without one the label is the module's name in the model. `groups` divides the names: DARTS
    then has a softmax for each group, and the best of each goes on to the topology search
    (Sec. 4.2.2); a group of one layer joins its neighbour.

    Raises UserError where there is no layer, and for groups that do not hold each name once.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        label: str | None = None,
        *,
        groups: Sequence[Sequence[str]] | None = None,
    ) -> None:
        super().__init__()
        if not layers:
            raise UserError("a LayerChoice needs a layer: give it at least one, by name")
        self.names = tuple(layers)
        given = (self.names,) if groups is None else tuple(map(tuple, groups))
        if sorted(name for group in given for name in group) != sorted(self.names):
            raise UserError(
                f"the groups of a LayerChoice hold each of {', '.join(self.names)} once"
            )
        self.groups = without_single(given)
        self.operations = nn.ModuleList(layers.values())
        self.label = label
        self.mixing: Sequence[tuple[int, Tensor | float]] | None = None
        """While a search runs: the layers that run, and their weights."""

    def forward(self, *values: Tensor) -> Tensor:
        """The weighted sum of what the layers make of `values`."""
        mixing = self.mixing
        if mixing is None:
            mixing = [(place, 1 / len(self.names)) for place in range(len(self.names))]
        return _sum([weight * self.operations[place](*values) for place, weight in mixing])


class InputChoice(nn.Module):
    """A choice of some of `inputs` tensors, which are summed (Eqs. 5-8).

    `keep` is how many: a number, or "any" for every non-empty subset. While operations are
    searched, and outside a search, all of them are summed (Eq. 3); in the topology search each
    weighs what the combinations that hold it weigh. `label` as for a LayerChoice.

    Raises UserError for less than one or more than 12 inputs, and for `keep` below one.
    """

    def __init__(self, inputs: int, keep: EdgeChoice = 2, label: str | None = None) -> None:
        super().__init__()
        if not 1 <= inputs <= MOST_INPUTS:
            raise UserError(f"an InputChoice has 1 to {MOST_INPUTS} inputs, not {shown(inputs)}")
        if keep not in ("any", "pairs") and not (type(keep) is int and keep >= 1):
            raise UserError(f"an InputChoice keeps a number of inputs or 'any', not {shown(keep)}")
        self.inputs = inputs
        self.keep = keep
        self.label = label
        self.mixing: Sequence[Tensor] | None = None
        """While the topology is searched: the weight of each input."""

    def forward(self, values: Sequence[Input]) -> Tensor:
        """The weighted sum of `values`, one for each input and alike in shape."""
        if len(values) != self.inputs:
            raise UserError(f"an InputChoice of {self.inputs} inputs was given {len(values)}")
        terms = [_made(value) for value in values]
        if self.mixing is not None:
            terms = [weight * term for weight, term in zip(self.mixing, terms, strict=True)]
        return _sum(terms)


class SelectedInputs(nn.Module):
    """What is left of an InputChoice: the sum of some of its inputs."""

    def __init__(self, kept: Sequence[int]) -> None:
        super().__init__()
        self.kept = tuple(kept)

    def forward(self, values: Sequence[Input]) -> Tensor:
        """The sum of those of `values` that were chosen; no other function is called."""
        return _sum([_made(values[place]) for place in self.kept])

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.kept))


@dataclass(frozen=True)
class Choices:
    """What was chosen: by label the layer's name, and the positions of the inputs kept."""

    layers: Mapping[str, str]
    inputs: Mapping[str, tuple[int, ...]]


def layer_choices(model: nn.Module) -> dict[str, list[LayerChoice]]:
    """The layer choices of a model by label. Raises UserError where those of one label differ."""
    return _labelled(model, LayerChoice, "layer choices", "names", "groups")


def input_choices(model: nn.Module) -> dict[str, list[InputChoice]]:
    """The input choices of a model by label. Raises UserError where those of one label differ."""
    return _labelled(model, InputChoice, "input choices", "inputs", "keep")


def _labelled(
    model: nn.Module, kind: type[Choice], what: str, first: str, second: str
) -> dict[str, list[Choice]]:
    found: dict[str, list[Choice]] = {}
    for name, module in model.named_modules():
        if isinstance(module, kind):
            found.setdefault(module.label or name or "model", []).append(module)
    for label, choices in found.items():
        if len(set(map(attrgetter(first, second), choices))) > 1:
            raise UserError(f"{what} with the label {label!r} differ in {first} or {second}")
    return found


def derive(model: nn.Module, choices: Choices) -> nn.Module:
    """A copy of `model` with what was chosen in the place of every choice.

    Layers keep their weights. Raises UserError where a choice of the model is not decided.
    """
    plain = deepcopy(model)
    found = [*_decided(plain, choices)]  # keeps them, and with them their ids
    replaced = {id(choice): chosen for choice, chosen in found}

    def final(module: nn.Module) -> nn.Module:
        while id(module) in replaced:  # a layer that was chosen may be a choice itself
            module = replaced[id(module)]
        return module

    for owner in [*plain.modules()]:
        for name, child in owner._modules.items():
            if child is not None:
                setattr(owner, name, final(child))
    return final(plain)


def _decided(model: nn.Module, choices: Choices) -> Iterator[tuple[nn.Module, nn.Module]]:
    for label, layers in layer_choices(model).items():
        chosen = choices.layers.get(label)
        for choice in layers:
            if chosen not in choice.names:
                raise UserError(
                    f"no layer {shown(chosen)} for the choice {label!r}: "
                    f"{did_you_mean(chosen or '', choice.names)}"
                )
            yield choice, choice.operations[choice.names.index(chosen)]
    for label, inputs in input_choices(model).items():
        kept = choices.inputs.get(label, ())
        for place in inputs:
            if not kept or not all(0 <= position < place.inputs for position in kept):
                raise UserError(f"no inputs {shown(list(kept))} for the choice {label!r}")
            yield place, SelectedInputs(kept)


def _made(value: Input) -> Tensor:
    return value if isinstance(value, Tensor) else value()


def _sum(terms: Sequence[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
