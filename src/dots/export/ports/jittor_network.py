"""The network in Jittor: a Module made from network.json and weights.safetensors.

    network = Network()
    logits = network(jittor.array(network.prepare(["picture.jpg"])))

Images are [B, C, H, W]. The first import of Jittor compiles for minutes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("use_mkl", "0")  # both would be downloaded
os.environ.setdefault("nvcc_path", "")

import jittor
from jittor import nn
from safetensors.numpy import load_file

from dots.export.pictures import main
from dots.export.ports.inputs import prepared


class Network(jittor.Module):
    """Runs the layers of an export: logits [B, classes] of normalised images."""

    def __init__(self, folder: str | Path = Path(__file__).parent) -> None:
        super().__init__()
        content = json.loads((Path(folder) / "network.json").read_text(encoding="utf-8"))
        self.description = content["description"]
        self.layers = content["layers"]["layers"]
        self.tensors = {}
        arrays = load_file(Path(folder) / "weights.safetensors")
        for layer in self.layers:
            for role, name in layer["weights"].items():
                tensor = jittor.array(arrays[name])
                self.tensors[name] = tensor.stop_grad() if role.startswith("running_") else tensor
        self.eval()

    def execute(self, images: Any) -> Any:
        """Logits [B, classes]."""
        values = {"images": images}
        for layer in self.layers:
            inputs = [values[name] for name in layer["inputs"]]
            values[layer["name"]] = self._value(layer, inputs)
        return values[self.layers[-1]["name"]]

    def _value(self, layer: Any, inputs: list[Any]) -> Any:
        x, settings = inputs[0], layer["settings"]
        held = {role: self.tensors[name] for role, name in layer["weights"].items()}
        match layer["kind"]:
            case "conv":
                stride, padding = tuple(settings["stride"]), tuple(settings["padding"])
                dilation, groups = tuple(settings["dilation"]), settings["groups"]
                bias = held.get("bias")
                return nn.conv2d(x, held["weight"], bias, stride, padding, dilation, groups)
            case "batch_norm":
                return self._batch_norm(x, held, layer)
            case "relu":
                return nn.relu(x)
            case "max_pool":
                return _maximum(x, settings)
            case "avg_pool":  # by the pixels that are there, not by the padding
                return _sum(x, settings) / _sum(jittor.ones((1, 1, *x.shape[2:])), settings)
            case "slice":
                (top, left), (down, across) = settings["start"], settings["step"]
                return x[:, :, top::down, left::across]
            case "pad":
                top, left, bottom, right = settings["padding"]
                return nn.pad(x, [left, right, top, bottom])
            case "add":
                return sum(inputs[1:], x)
            case "concat":
                return jittor.concat(inputs, dim=1)
            case "mean":
                return x.mean(dims=(2, 3))
        return nn.linear(x, held["weight"], held.get("bias"))

    def _batch_norm(self, x: Any, held: Any, layer: Any) -> Any:
        """Written out: the running variance of Jittor's own is the biased one."""
        mean, variance = held["running_mean"], held["running_var"]
        if self.is_training():
            share, count = layer["settings"]["momentum"], x.numel() // x.shape[1]
            mean = x.mean(dims=(0, 2, 3))
            variance = ((x - mean.reshape(1, -1, 1, 1)) ** 2).mean(dims=(0, 2, 3))
            new = {"running_mean": mean, "running_var": variance * count / (count - 1)}
            for role, value in new.items():
                old = held[role]
                old.update(((1 - share) * old + share * value).stop_grad())
        scale = 1 / jittor.sqrt(variance + layer["settings"]["eps"])
        if "weight" in held:
            scale = scale * held["weight"]
        shift = -mean * scale
        if "bias" in held:
            shift = shift + held["bias"]
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)

    def named_tensors(self) -> dict[str, Any]:
        """The tensors as numpy arrays, under their names in weights.safetensors."""
        return {name: tensor.numpy() for name, tensor in self.tensors.items()}

    def prepare(self, paths: Sequence[str]) -> Any:
        """Image files as the network takes them: normalised, float32 [B, C, H, W]."""
        return prepared(paths, self.description["preprocessing"])

    def probabilities(self, paths: Sequence[str]) -> Any:
        """For each image file the probability of every class."""
        return nn.softmax(self(jittor.array(self.prepare(paths))), dim=1).numpy()

    def train_step(self, images: Any, labels: Any, learning_rate: float) -> float:
        """One step of plain gradient descent on the cross-entropy; the loss before it."""
        self.train()
        value = nn.cross_entropy_loss(self(jittor.array(images)), jittor.array(labels))
        names = [
            name
            for layer in self.layers
            for role, name in layer["weights"].items()
            if not role.startswith("running_")
        ]
        gradients = jittor.grad(value, [self.tensors[name] for name in names])
        result = float(value.item())
        for name, gradient in zip(names, gradients, strict=True):
            self.tensors[name].update(self.tensors[name] - learning_rate * gradient)
        self.eval()
        return result


def _maximum(x: Any, settings: Any) -> Any:
    """By Jittor's own kernel, which wants maps larger than the window: one pixel more is padded.

    The gradient of a plain maximum looks for values that are equal to it, and finds none where
    they are computed anew in a fused kernel, with other rounding.
    """
    top, left, bottom, right = settings["padding"]
    kernel, stride = tuple(settings["kernel"]), tuple(settings["stride"])
    padded = nn.pad(x, [left, right + 1, top, bottom + 1], value=-3.0e38)
    rows, columns = _windows(x, settings)
    return nn.Pool(kernel, stride, padding=0, op="maximum")(padded)[:, :, :rows, :columns]


def _sum(x: Any, settings: Any) -> Any:
    """The sum of each window; beyond the border are zeros."""
    top, left, bottom, right = settings["padding"]
    (height, width), (down, across) = settings["kernel"], settings["stride"]
    windows = nn.pad(x, [left, right, top, bottom]).reindex(
        [x.shape[0], x.shape[1], *_windows(x, settings), height, width],
        ["i0", "i1", f"i2*{down}+i4", f"i3*{across}+i5"],
    )
    return windows.sum(dims=(4, 5))


def _windows(x: Any, settings: Any) -> tuple[int, int]:
    """How many there are, down and across."""
    top, left, bottom, right = settings["padding"]
    (height, width), (down, across) = settings["kernel"], settings["stride"]
    rows = (x.shape[2] + top + bottom - height) // down + 1
    return rows, (x.shape[3] + left + right - width) // across + 1


if __name__ == "__main__":
    network = Network()
    main(network.probabilities, network.description["classes"])
