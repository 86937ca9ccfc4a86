"""The network in JAX: a module of Flax (nnx), and below it a pure function of arrays.

    network = Network()                               # network.json and weights.safetensors here
    logits = network(network.prepare(["picture.jpg"]))

Weights are `nnx.Param`, running statistics `nnx.BatchStat`; `network.train()` lets batch norms
take the statistics of the batch. `nnx.jit`, `nnx.split`, `nnx.Optimizer` work as on any module,
and `apply` alone needs JAX only. Images are [B, C, H, W].
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax
from safetensors.numpy import load_file

from dots.export.pictures import main
from dots.export.ports.inputs import prepared

Tensors = dict[str, Any]
_EXACT = lax.Precision.HIGHEST


def apply(
    layers: Sequence[Mapping[str, Any]], tensors: Tensors, images: Any, training: bool = False
) -> tuple[Any, Tensors]:
    """Logits [B, classes] of normalised images, and the running statistics from now on.

    In training, batch norms take the statistics of the batch and the running ones change.
    """
    values = {"images": images}
    running: Tensors = {}
    for layer in layers:
        inputs = [values[name] for name in layer["inputs"]]
        held = {role: tensors[name] for role, name in layer["weights"].items()}
        result = _layer(layer["kind"], layer["settings"], held, inputs, training)
        if layer["kind"] == "batch_norm":
            result, statistics = result
            running |= {layer["weights"][role]: value for role, value in statistics.items()}
        values[layer["name"]] = result
    return values[layers[-1]["name"]], running


def _layer(kind: str, settings: Any, held: Tensors, inputs: list[Any], training: bool) -> Any:
    x = inputs[0]
    match kind:
        case "conv":
            return _conv(x, held, settings)
        case "batch_norm":
            return _batch_norm(x, held, settings, training)
        case "relu":
            return jax.nn.relu(x)
        case "max_pool":
            return _windows(x, -jnp.inf, lax.max, settings)
        case "avg_pool":  # by the pixels that are there, not by the padding
            count = _windows(jnp.ones_like(x[:1, :1]), 0.0, lax.add, settings)
            return _windows(x, 0.0, lax.add, settings) / count
        case "slice":
            (top, left), (down, across) = settings["start"], settings["step"]
            return x[:, :, top::down, left::across]
        case "pad":
            return jnp.pad(x, _sides(settings))
        case "add":
            return sum(inputs[1:], x)
        case "concat":
            return jnp.concatenate(inputs, axis=1)
        case "mean":
            return x.mean(axis=(2, 3))
    return jnp.matmul(x, held["weight"].T, precision=_EXACT) + held.get("bias", 0.0)


def _conv(x: Any, held: Tensors, settings: Any) -> Any:
    height, width = settings["padding"]
    result = lax.conv_general_dilated(
        x,
        held["weight"],
        settings["stride"],
        [(height, height), (width, width)],
        rhs_dilation=settings["dilation"],
        feature_group_count=settings["groups"],
        precision=_EXACT,
    )
    return result + held["bias"][:, None, None] if "bias" in held else result


def _batch_norm(x: Any, held: Tensors, settings: Any, training: bool) -> tuple[Any, Tensors]:
    mean, variance = held["running_mean"], held["running_var"]
    running = {"running_mean": mean, "running_var": variance}
    if training:
        count = x.size // x.shape[1]
        old = {"running_mean": mean, "running_var": variance}
        mean, variance = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
        new = {"running_mean": mean, "running_var": variance * count / (count - 1)}
        share = settings["momentum"]
        running = {role: (1 - share) * old[role] + share * new[role] for role in old}
    scale = held.get("weight", 1.0) / jnp.sqrt(variance + settings["eps"])
    shift = held.get("bias", 0.0) - mean * scale
    return x * scale[:, None, None] + shift[:, None, None], running


def _windows(x: Any, start: float, combine: Any, settings: Any) -> Any:
    window, stride = (1, 1, *settings["kernel"]), (1, 1, *settings["stride"])
    return lax.reduce_window(x, start, combine, window, stride, _sides(settings))


def _sides(settings: Any) -> list[tuple[int, int]]:
    top, left, bottom, right = settings["padding"]
    return [(0, 0), (0, 0), (top, bottom), (left, right)]


@dataclass(frozen=True, eq=False)
class Plan:
    """What does not change: the list of layers, and the preprocessing with the class names."""

    layers: Sequence[Mapping[str, Any]]
    description: Mapping[str, Any]


class Network(nnx.Module):
    """The layers and tensors of an export: `network(images)` gives logits."""

    def __init__(self, folder: str | Path = Path(__file__).parent) -> None:
        content = json.loads((Path(folder) / "network.json").read_text(encoding="utf-8"))
        self.plan = Plan(content["layers"]["layers"], content["description"])
        self.use_running_average = True  # `train()` and `eval()` of nnx.Module switch it
        running = {
            layer["weights"][role]
            for layer in self.plan.layers
            for role in ("running_mean", "running_var")
            if role in layer["weights"]
        }
        self.tensors = nnx.Dict()
        for name, array in load_file(Path(folder) / "weights.safetensors").items():
            kind = nnx.BatchStat if name in running else nnx.Param
            self.tensors[name] = kind(jnp.asarray(array))

    def __call__(self, images: Any) -> Any:
        """Logits [B, classes] of normalised images [B, C, H, W]."""
        training = not self.use_running_average
        tensors = {name: variable[...] for name, variable in self.tensors.items()}
        logits, running = apply(self.plan.layers, tensors, jnp.asarray(images), training)
        if training:
            for name, value in running.items():
                self.tensors[name][...] = value
        return logits

    def named_tensors(self) -> dict[str, Any]:
        """The tensors as numpy arrays, under their names in weights.safetensors."""
        return {name: np.asarray(variable[...]) for name, variable in self.tensors.items()}

    def prepare(self, paths: Sequence[str]) -> Any:
        """Image files as the network takes them: normalised, float32 [B, C, H, W]."""
        return prepared(paths, self.plan.description["preprocessing"])

    def probabilities(self, paths: Sequence[str]) -> Any:
        """For each image file the probability of every class."""
        return np.asarray(jax.nn.softmax(_logits(self, self.prepare(paths)), axis=1))

    def train_step(self, images: Any, labels: Any, learning_rate: float) -> float:
        """One step of plain gradient descent on the cross-entropy; the loss before it."""
        self.train()
        optimiser = nnx.Optimizer(self, optax.sgd(learning_rate), wrt=nnx.Param)
        value = _step(self, optimiser, jnp.asarray(images), jnp.asarray(labels))
        self.eval()
        return float(value)


@nnx.jit
def _logits(network: Network, images: Any) -> Any:
    return network(images)


@nnx.jit
def _step(network: Network, optimiser: Any, images: Any, labels: Any) -> Any:
    def loss(network: Network) -> Any:
        losses = optax.softmax_cross_entropy_with_integer_labels(network(images), labels)
        return losses.mean()

    value, gradients = nnx.value_and_grad(loss)(network)
    optimiser.update(network, gradients)
    return value


if __name__ == "__main__":
    network = Network()
    main(network.probabilities, network.plan.description["classes"])
