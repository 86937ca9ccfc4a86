"""What networks and operations cost: parameters, multiply-adds, measured latency."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dots.networks.body import Shape, check_image_size
from dots.networks.derived import DerivedNetwork
from dots.networks.operations.candidates import OperationStyle
from dots.networks.operations.registry import make_operation
from dots.networks.operations.source import Source, complete
from dots.space.genotype import Genotype
from dots.space.search_space import Operation

Size = tuple[int, ...]
Own = Mapping[str, Operation]
_NONE: Own = MappingProxyType({})


@dataclass(frozen=True)
class Cost:
    """Parameters, and multiply-adds of one image in convolutions and linear layers."""

    parameters: int
    multiply_adds: int


def network_cost(genotype: Genotype, shape: Shape, image_size: int) -> Cost:
    """The cost of a derived network without its auxiliary head, for square images.

    Nothing is computed: the network is built and run on the meta device. Raises UserError
    for images that are too small, and for a genotype that cannot be built.
    """
    check_image_size(genotype.graph, shape, image_size)
    with torch.device("meta"):
        network = DerivedNetwork(genotype, shape, fast=False).eval()
        image = torch.empty(1, shape.image_channels, image_size, image_size)
    return module_cost(network, image)


def module_cost(module: nn.Module, *inputs: object) -> Cost:
    """The parameters of a module, and the multiply-adds of calling it on `inputs`."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        module(*inputs)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return Cost(parameters, counter.get_total_flops() // 2)  # a multiply-add is two operations


class _Alone(nn.Module):
    """An operation with a tensor in and a tensor out."""

    def __init__(self, name: str, channels: int, stride: int, own: Own) -> None:
        super().__init__()
        self.operation = make_operation(name, channels, stride, _DERIVED, own)

    def forward(self, x: Tensor, fast: bool = False) -> Tensor | None:
        parts = self.operation(Source(x, fast=fast))
        return None if parts is None else complete(parts, fast=fast)


_DERIVED = OperationStyle(affine=True, pool_norm=False)


def operation_cost(name: str, channels: int, stride: int, size: int, own: Own = _NONE) -> Cost:
    """The cost of one operation, as in a derived network, on [channels, size, size] features."""
    with torch.device("meta"):
        operation = _Alone(name, channels, stride, own).eval()
        features = torch.empty(1, channels, size, size)
    return module_cost(operation, features)


def memory_access(name: str, channels: int, stride: int, size: int, own: Own = _NONE) -> int:
    """Values that one operation reads and writes: inputs, outputs and weights of its layers.

    Of convolutions and poolings, as in ShuffleNet v2 (Ma et al., ECCV 2018, Sec. 2); what has
    none of them copies its input.
    """
    aten = torch.ops.aten

    def convolution(x: Size, weight: Size, *_: object, out_shape: Size, **__: object) -> int:
        return prod(x) + prod(weight) + prod(out_shape)

    def pooling(x: Size, *_: object, out_shape: Size, **__: object) -> int:
        return prod(x) + prod(out_shape)

    layers = {
        aten.convolution: convolution,
        aten.avg_pool2d: pooling,
        aten.max_pool2d_with_indices: lambda x, *_, out_shape, **__: pooling(
            x, out_shape=out_shape[0]
        ),
    }
    counter = FlopCounterMode(display=False, custom_mapping=layers)
    with torch.device("meta"), counter, torch.no_grad():
        features = torch.empty(1, channels, size, size)
        _Alone(name, channels, stride, own).eval()(features)
    return counter.get_total_flops() or 2 * channels * size * size


def operation_latency(
    name: str,
    channels: int,
    stride: int,
    size: int,
    *,
    batch: int = 1,
    device: torch.device | None = None,
    repeats: int = 20,
    own: Own = _NONE,
) -> float:
    """The median seconds of one forward of an operation on this device, measured now."""
    device = device or torch.device("cpu")
    operation = _Alone(name, channels, stride, own).eval().to(device)
    features = torch.randn(batch, channels, size, size, device=device)
    features = features.contiguous(memory_format=torch.channels_last)
    seconds = []
    with torch.no_grad():
        for _ in range(repeats + 3):
            start = time.perf_counter()
            operation(features, True)
            _wait_for(device)
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[3:])  # the first calls warm up


def _wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        getattr(torch, device.type).synchronize(device)
