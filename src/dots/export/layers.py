"""A trained network as a flat list of plain layers. No torch, no framework.

This is what every export reads. A layer names the values that it takes and the tensors that
it holds; a value is named after the layer that makes it, and the network's input is "images".
Shapes are those of one image, without the batch: the list holds for one image size.

    kind        inputs  tensors                                    settings
    conv        1       weight [O, I / groups, kh, kw], bias       kernel, stride, padding,
                                                                   dilation, groups
    batch_norm  1       weight, bias, running_mean, running_var    eps, momentum
    relu        1
    max_pool    1                                                  kernel, stride, padding
    avg_pool    1                                                  kernel, stride, padding
    slice       1                                                  start, step
    pad         1                                                  padding (with zeros)
    add         2...
    concat      2...    (along the channels)
    mean        1       (over height and width)
    linear      1       weight [O, I], bias

A bias may be absent, and both weight and bias of a batch norm.
Pairs are (height, width). The padding of a convolution is (height, width) on both sides; that
of a pooling and of a pad is (top, left, bottom, right), and a pooling does not count it: the
maximum never sees it, the average divides by the pixels that are there. The momentum is
PyTorch's: running = (1 - momentum) · running + momentum · batch, with the unbiased variance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from dots.common.errors import UserError, shown
from dots.common.records import first_problem

INPUT = "images"
Kind = Literal[
    "conv", "batch_norm", "relu", "max_pool", "avg_pool", "slice", "pad", "add", "concat",
    "mean", "linear",
]  # fmt: skip
Setting = int | float | tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One layer; see the table above.

    `weights` maps the role of a tensor to its name, `part` is the block of the network that
    the layer belongs to ("stem", "cells.3", "head").
    """

    name: str
    kind: Kind
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    weights: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Setting] = field(default_factory=dict)
    part: str = ""

    def pair(self, name: str) -> tuple[int, int]:
        """A setting that is (height, width)."""
        value = self.settings[name]
        assert isinstance(value, tuple)
        height, width = value
        return height, width

    def sides(self) -> tuple[int, int, int, int]:
        """The padding of a pooling or of a pad: (top, left, bottom, right)."""
        value = self.settings["padding"]
        assert isinstance(value, tuple)
        top, left, bottom, right = value
        return top, left, bottom, right

    def number(self, name: str) -> float:
        """A setting that is a number."""
        value = self.settings[name]
        assert isinstance(value, (int, float))  # a union is unknown to torch.export of 2.5
        return value


@dataclass(frozen=True)
class LayerList:
    """All layers, each after those it takes values from, the last one giving the logits.

    `input` is the shape [C, H, W] of an image. `parts` says in words what a part of the
    network is, a line for each of a cell's nodes.
    """

    input: tuple[int, int, int]
    layers: tuple[Layer, ...]
    parts: Mapping[str, str] = field(default_factory=dict)

    @property
    def output(self) -> str:
        """The name of the logits."""
        return self.layers[-1].name

    @property
    def tensors(self) -> tuple[str, ...]:
        """The names of all tensors, each once."""
        names = (name for layer in self.layers for name in layer.weights.values())
        return tuple(dict.fromkeys(names))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every value."""
        return {INPUT: self.input, **{layer.name: layer.shape for layer in self.layers}}

    def uses(self) -> dict[str, int]:
        """How often every value is taken."""
        counts = dict.fromkeys(self.shapes(), 0)
        for layer in self.layers:
            for name in layer.inputs:
                counts[name] += 1
        return counts

    def to_json(self) -> dict[str, Any]:
        """The list as JSON values."""
        value: dict[str, Any] = _LISTS.dump_python(self, mode="json")
        return value

    @classmethod
    def from_json(cls, value: Any, where: str) -> LayerList:
        """The inverse of to_json. Raises UserError, naming `where`, for anything else."""
        try:
            result = _LISTS.validate_python(value)
        except ValidationError as error:
            raise UserError(f"{where} is no list of layers: {first_problem(error)}") from None
        _check(result, where)
        return result


_LISTS = TypeAdapter(LayerList)


def _check(network: LayerList, where: str) -> None:
    """Raise UserError where a layer takes a value that is not there, or there is none."""
    known = {INPUT}
    for layer in network.layers:
        for name in layer.inputs:
            if name not in known:
                raise UserError(
                    f"{where}: {layer.name} takes {shown(name)}, which is not before it"
                )
        if layer.name in known:
            raise UserError(f"{where}: two layers are called {shown(layer.name)}")
        known.add(layer.name)
    if not network.layers:
        raise UserError(f"{where}: a network without layers")
