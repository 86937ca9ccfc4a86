"""The layer list as a PyTorch module: the oracle of all exports, and what some are made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dots.export.layers import INPUT, Layer, LayerList


class LayerNetwork(nn.Module):
    """Runs a layer list with stock functions; logits [B, classes] of images [B, C, H, W].

    In training mode batch norms take the statistics of the batch and update the running ones,
    as they do in the network that the list was read off. `tensor` gives a tensor by the name
    that it has in the list.
    """

    def __init__(self, network: LayerList, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.layers = network.layers
        self.output = network.output
        for layer in network.layers:
            for role, name in layer.weights.items():
                value = tensors[name].detach().clone(memory_format=torch.contiguous_format)
                if role.startswith("running_"):
                    self.register_buffer(_attribute(name), value)
                else:
                    self.register_parameter(_attribute(name), nn.Parameter(value))

    def tensor(self, name: str) -> Tensor:
        """The parameter or buffer that the list calls `name`."""
        value: Tensor = getattr(self, _attribute(name))
        return value

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, classes]."""
        values = {INPUT: images}
        for layer in self.layers:
            inputs = [values[name] for name in layer.inputs]
            values[layer.name] = _RULES[layer.kind](self, layer, inputs)
        return values[self.output]

    def _held(self, layer: Layer, role: str) -> Tensor | None:
        name = layer.weights.get(role)
        return None if name is None else self.tensor(name)

    def _conv(self, layer: Layer, inputs: list[Tensor]) -> Tensor:
        return F.conv2d(
            inputs[0],
            self.tensor(layer.weights["weight"]),
            self._held(layer, "bias"),
            layer.pair("stride"),
            layer.pair("padding"),
            layer.pair("dilation"),
            int(layer.number("groups")),
        )

    def _batch_norm(self, layer: Layer, inputs: list[Tensor]) -> Tensor:
        return F.batch_norm(
            inputs[0],
            self.tensor(layer.weights["running_mean"]),
            self.tensor(layer.weights["running_var"]),
            self._held(layer, "weight"),
            self._held(layer, "bias"),
            self.training,
            layer.number("momentum"),
            layer.number("eps"),
        )

    def _max_pool(self, layer: Layer, inputs: list[Tensor]) -> Tensor:
        top, left, bottom, right = layer.sides()
        kernel, stride = layer.pair("kernel"), layer.pair("stride")
        if (top, left) == (bottom, right):
            return F.max_pool2d(inputs[0], kernel, stride, (top, left))
        padded = F.pad(inputs[0], (left, right, top, bottom), value=-float("inf"))
        return F.max_pool2d(padded, kernel, stride)

    def _avg_pool(self, layer: Layer, inputs: list[Tensor]) -> Tensor:
        top, left, bottom, right = layer.sides()
        kernel, stride = layer.pair("kernel"), layer.pair("stride")
        if (top, left) == (bottom, right):
            return F.avg_pool2d(inputs[0], kernel, stride, (top, left), count_include_pad=False)
        return F.avg_pool2d(
            inputs[0], kernel, stride, (top, left), ceil_mode=True, count_include_pad=False
        )

    def _slice(self, layer: Layer, inputs: list[Tensor]) -> Tensor:
        (top, left), (down, across) = layer.pair("start"), layer.pair("step")
        return inputs[0][..., top::down, left::across]

    def _pad(self, layer: Layer, inputs: list[Tensor]) -> Tensor:
        top, left, bottom, right = layer.sides()
        return F.pad(inputs[0], (left, right, top, bottom))

    def _add(self, layer: Layer, inputs: list[Tensor]) -> Tensor:
        return sum(inputs[1:], inputs[0])

    def _linear(self, layer: Layer, inputs: list[Tensor]) -> Tensor:
        weight = self.tensor(layer.weights["weight"])
        return F.linear(inputs[0], weight, self._held(layer, "bias"))


_RULES: Mapping[str, Callable[[LayerNetwork, Layer, list[Tensor]], Tensor]] = {
    "conv": LayerNetwork._conv,
    "batch_norm": LayerNetwork._batch_norm,
    "relu": lambda network, layer, inputs: F.relu(inputs[0]),
    "max_pool": LayerNetwork._max_pool,
    "avg_pool": LayerNetwork._avg_pool,
    "slice": LayerNetwork._slice,
    "pad": LayerNetwork._pad,
    "add": LayerNetwork._add,
    "concat": lambda network, layer, inputs: torch.cat(inputs, dim=1),
    "mean": lambda network, layer, inputs: inputs[0].mean(dim=(2, 3)),
    "linear": LayerNetwork._linear,
}


def _attribute(name: str) -> str:
    return name.replace(".", "__")
