"""The network in MindSpore: a Cell made from network.json and weights.safetensors.

    network = Network()
    logits = network(Tensor(network.prepare(["picture.jpg"])))

Images are [B, C, H, W]. Needs numpy < 2 with MindSpore 2.10.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mindspore
from mindspore import Parameter, Tensor, nn, ops
from safetensors.numpy import load_file

from dots.export.pictures import main
from dots.export.ports.inputs import prepared


class AveragePool(nn.Cell):
    """Average pooling that divides by the pixels that are there."""

    def __init__(self, settings: Any, shape: Sequence[int]) -> None:
        super().__init__()
        top, left, bottom, right = settings["padding"]
        self.sides = (left, right, top, bottom)
        self.pool = nn.AvgPool2d(tuple(settings["kernel"]), tuple(settings["stride"]), "valid")
        ones = ops.pad(ops.ones((1, 1, *shape[-2:]), mindspore.float32), self.sides)
        self.share = self.pool(ones)

    def construct(self, x: Any) -> Any:
        return self.pool(ops.pad(x, self.sides)) / self.share


class MaximumPool(nn.Cell):
    """Maximum pooling that does not see the padding."""

    def __init__(self, settings: Any) -> None:
        super().__init__()
        top, left, bottom, right = settings["padding"]
        self.sides = (left, right, top, bottom)
        self.pool = nn.MaxPool2d(tuple(settings["kernel"]), tuple(settings["stride"]), "valid")

    def construct(self, x: Any) -> Any:
        return self.pool(ops.pad(x, self.sides, value=-3.0e38))  # its kernels know no infinity


class Slice(nn.Cell):
    """Every few pixels, as a pooling of single ones: a strided slice has a faulty gradient."""

    def __init__(self, settings: Any) -> None:
        super().__init__()
        self.top, self.left = settings["start"]
        self.pool = nn.AvgPool2d(1, tuple(settings["step"]), "valid")

    def construct(self, x: Any) -> Any:
        return self.pool(x[:, :, self.top :, self.left :])


def _module(layer: Any, tensors: Any, before: Sequence[int]) -> nn.Cell | None:
    """The cell of a layer with tensors or settings; `before` is the shape of its input."""
    kind, settings = layer["kind"], layer["settings"]
    held = {role: Tensor(tensors[name]) for role, name in layer["weights"].items()}
    match kind:
        case "conv":
            (height, width), weight = settings["padding"], held["weight"]
            result = nn.Conv2d(
                before[0],
                weight.shape[0],
                weight.shape[2:],
                tuple(settings["stride"]),
                pad_mode="pad",
                padding=(height, height, width, width),
                dilation=tuple(settings["dilation"]),
                group=settings["groups"],
                has_bias="bias" in held,
            )
            _set(result, held, {"weight": "weight", "bias": "bias"})
            return result
        case "batch_norm":  # the momentum is what is kept, not what is new
            momentum, affine = 1 - settings["momentum"], "weight" in held
            result = nn.BatchNorm2d(before[0], settings["eps"], momentum, affine)
            roles = {"weight": "gamma", "bias": "beta"}
            _set(result, held, roles | {"running_mean": "moving_mean"})
            _set(result, held, {"running_var": "moving_variance"})
            return result
        case "linear":
            out, count = held["weight"].shape
            result = nn.Dense(count, out, has_bias="bias" in held)
            _set(result, held, {"weight": "weight", "bias": "bias"})
            return result
        case "max_pool":
            return MaximumPool(settings)
        case "avg_pool":
            return AveragePool(settings, before)
        case "slice":
            return Slice(settings)
    return None


def _set(cell: nn.Cell, held: Any, roles: dict[str, str]) -> None:
    for role, attribute in roles.items():
        if role in held:
            getattr(cell, attribute).set_data(held[role])


class Network(nn.Cell):
    """Runs the layers of an export: logits [B, classes] of normalised images."""

    def __init__(self, folder: str | Path = Path(__file__).parent) -> None:
        super().__init__()
        content = json.loads((Path(folder) / "network.json").read_text(encoding="utf-8"))
        self.description = content["description"]
        self.layers = content["layers"]["layers"]
        shapes = {"images": content["layers"]["input"]}
        tensors = load_file(Path(folder) / "weights.safetensors")
        self.modules = nn.CellList()
        self.places: dict[str, int] = {}
        for layer in self.layers:
            module = _module(layer, tensors, shapes[layer["inputs"][0]])
            if module is not None:
                self.places[layer["name"]] = len(self.modules)
                self.modules.append(module)
            shapes[layer["name"]] = layer["shape"]
        self.set_train(False)

    def construct(self, images: Any) -> Any:
        """Logits [B, classes]."""
        values = {"images": images}
        for layer in self.layers:
            inputs = [values[name] for name in layer["inputs"]]
            values[layer["name"]] = self._value(layer, inputs)
        return values[self.layers[-1]["name"]]

    def _value(self, layer: Any, inputs: list[Any]) -> Any:
        match layer["kind"]:
            case "relu":
                return ops.relu(inputs[0])
            case "pad":
                top, left, bottom, right = layer["settings"]["padding"]
                return ops.pad(inputs[0], (left, right, top, bottom))
            case "add":
                return sum(inputs[1:], inputs[0])
            case "concat":
                return ops.cat(inputs, axis=1)
            case "mean":
                return inputs[0].mean((2, 3))
        return self.modules[self.places[layer["name"]]](inputs[0])

    def named_tensors(self) -> dict[str, Any]:
        """The tensors as numpy arrays, under their names in weights.safetensors."""
        names = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean"}
        names["moving_variance"] = "running_var"
        result = {}
        for layer in self.layers:
            if not layer["weights"]:
                continue
            cell = self.modules[self.places[layer["name"]]]
            for attribute in ("weight", "bias", *names):
                value, role = getattr(cell, attribute, None), names.get(attribute, attribute)
                if isinstance(value, Parameter) and role in layer["weights"]:
                    result[layer["weights"][role]] = value.asnumpy()
        return result

    def prepare(self, paths: Sequence[str]) -> Any:
        """Image files as the network takes them: normalised, float32 [B, C, H, W]."""
        return prepared(paths, self.description["preprocessing"])

    def probabilities(self, paths: Sequence[str]) -> Any:
        """For each image file the probability of every class."""
        return ops.softmax(self(Tensor(self.prepare(paths))), axis=1).asnumpy()

    def train_step(self, images: Any, labels: Any, learning_rate: float) -> float:
        """One step of plain gradient descent on the cross-entropy; the loss before it."""
        self.set_train(True)
        optimiser = nn.SGD(self.trainable_params(), learning_rate)

        def loss(x: Any, y: Any) -> Any:
            return ops.cross_entropy(self(x), y)

        gradient = mindspore.value_and_grad(loss, None, optimiser.parameters)
        value, gradients = gradient(Tensor(images), Tensor(labels, mindspore.int32))
        optimiser(gradients)
        self.set_train(False)
        return float(value.asnumpy())


if __name__ == "__main__":
    network = Network()
    main(network.probabilities, network.description["classes"])
