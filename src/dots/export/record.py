"""A network's layers, read off one forward pass.

The network runs once, its plain path, while every PyTorch function that makes a tensor is
watched. Each of a dozen functions is one layer; anything else is refused, so that nothing is
left out silently. A new operation needs no line here as long as it is built from these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dots.common.errors import UserError
from dots.export.layers import INPUT, Kind, Layer, LayerList, Setting
from dots.export.names import CellNames, part_of
from dots.export.tidy import SHARED, needed, tidy

Sides = tuple[int, int, int, int]


def record(network: nn.Module, input_shape: tuple[int, int, int], names: CellNames) -> LayerList:
    """The layers of a network of images [C, H, W], on its device, as in evaluation mode.

    Raises UserError where the network does what no layer does.
    """
    tensors = dict(network.named_parameters()) | dict(network.named_buffers())
    images = torch.zeros(1, *input_shape).to(next(network.parameters()))
    recorder = _Recorder({id(tensor): name for name, tensor in tensors.items()}, images)
    with _plain(network), recorder.following(network), torch.no_grad(), recorder:
        output = network(images)
    layers = tidy(recorder.layers)
    assert layers[-1].name == recorder.value(output)
    return LayerList(input_shape, needed(names.renamed(layers)), names.parts)


@contextmanager
def _plain(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, without what is fast instead of plain."""
    training, fast = network.training, getattr(network, "fast", None)
    network.eval()
    if fast is not None:
        network.fast = False  # type: ignore[assignment]  # an attribute of derived networks
    try:
        yield
    finally:
        network.train(training)
        if fast is not None:
            network.fast = fast


_DRAWS = ("rand", "randn", "randint", "normal")
"""What makes values of nothing, and others at every call."""


class _Recorder(TorchFunctionMode):
    """Watches PyTorch's functions and notes a layer for each that makes a new value."""

    def __init__(self, tensors: Mapping[int, str], images: Tensor) -> None:
        super().__init__()
        self.layers: list[Layer] = []
        self._tensors = tensors
        self._values = {id(images): INPUT}
        self._ones: set[int] = set()
        self._bottomless: dict[int, Sides] = {}  # padded with -inf, for a maximum
        self._path = [""]
        self._alive: list[Tensor] = [images]  # an id is only good while its tensor lives
        self._seen: dict[object, str] = {}

    def value(self, tensor: Tensor) -> str:
        """The name of a value."""
        return self._values[id(tensor)]

    @contextmanager
    def following(self, network: nn.Module) -> Iterator[None]:
        """Know, for the time of the block, in which module the network is."""
        handles = []
        for path, module in network.named_modules():

            def enter(module: nn.Module, inputs: Any, path: str = path) -> None:
                self._path.append(path)

            def leave(module: nn.Module, inputs: Any, output: Any) -> None:
                self._path.pop()

            handles += [module.register_forward_pre_hook(enter)]
            handles += [module.register_forward_hook(leave)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Do what is asked, and note it."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if isinstance(result, Tensor):
            self._alive.append(result)
            self._note(getattr(func, "__name__", str(func)), args, kwargs, result)
        return result

    def _note(self, name: str, args: tuple[Any, ...], kwargs: Any, result: Tensor) -> None:
        if id(result) in self._values or id(result) in self._tensors:
            return
        if name == "new_ones":
            self._ones.add(id(result))
        elif name in _HANDLERS:
            _HANDLERS[name](self, result, *args, **kwargs)
        elif name in _DRAWS or any(id(each) in self._values for each in args):
            raise UserError(f"the network cannot be exported: no layer does what {name!r} does")

    def same(self, result: Tensor, x: Tensor) -> None:
        """The result is a value that is there already."""
        self._values[id(result)] = self.value(x)

    def add_layer(
        self,
        result: Tensor,
        kind: Kind,
        inputs: list[Tensor],
        tensors: Mapping[str, Tensor | None] | None = None,
        **settings: Setting,
    ) -> None:
        """Note a layer; an activation or a pooling that is there is taken again."""
        names = tuple(self.value(x) for x in inputs)
        held = {role: t for role, t in (tensors or {}).items() if t is not None}
        weights = {role: self._tensors[id(tensor)] for role, tensor in held.items()}
        first = next(iter(weights.values()), None)
        path = first.rpartition(".")[0] if first else f"{self._path[-1]}.{kind}".strip(".")
        part = part_of(path)
        key = (part, kind, names, tuple(settings.items()))
        if kind in SHARED and key in self._seen:
            self._values[id(result)] = self._seen[key]
            return
        shape = tuple(result.shape[1:])
        self.layers.append(Layer(self._free(path), kind, names, shape, weights, settings, part))
        layer = self.layers[-1]
        self._seen[key] = self._values[id(result)] = layer.name

    def _free(self, path: str) -> str:
        taken = {layer.name for layer in self.layers}
        copies = (f"{path}_{number}" for number in range(2, len(taken) + 3))
        return path if path not in taken else next(name for name in copies if name not in taken)

    def conv(
        self, result: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None,
        stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
    ) -> None:  # fmt: skip
        """F.conv2d."""
        tensors = {"weight": weight, "bias": bias}
        pairs = {"stride": _pair(stride), "padding": _pair(padding), "dilation": _pair(dilation)}
        kernel = _pair(weight.shape[2:])
        self.add_layer(result, "conv", [x], tensors, kernel=kernel, **pairs, groups=groups)

    def batch_norm(
        self, result: Tensor, x: Tensor, running_mean: Tensor, running_var: Tensor,
        weight: Tensor | None = None, bias: Tensor | None = None, training: bool = False,
        momentum: float = 0.1, eps: float = 1e-5,
    ) -> None:  # fmt: skip
        """F.batch_norm."""
        tensors = {
            "weight": weight,
            "bias": bias,
            "running_mean": running_mean,
            "running_var": running_var,
        }
        self.add_layer(result, "batch_norm", [x], tensors, eps=eps, momentum=momentum)

    def relu(self, result: Tensor, x: Tensor, inplace: bool = False) -> None:
        """F.relu."""
        self.add_layer(result, "relu", [x])

    def max_pool(
        self, result: Tensor, x: Tensor, kernel: Any, stride: Any = None, padding: Any = 0,
        dilation: Any = 1, ceil_mode: bool = False, return_indices: bool = False,
    ) -> None:  # fmt: skip
        """F.max_pool2d."""
        if _pair(dilation) != (1, 1):
            raise UserError("the network cannot be exported: no layer is a dilated pooling")
        sides = self._bottomless.get(id(x), (0, 0, 0, 0))
        self._pool("max_pool", result, x, kernel, stride, padding, ceil_mode, sides)

    def avg_pool(
        self, result: Tensor, x: Tensor, kernel: Any, stride: Any = None, padding: Any = 0,
        ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: Any = None,
    ) -> None:  # fmt: skip
        """F.avg_pool2d."""
        if (count_include_pad and _pair(padding) != (0, 0)) or divisor_override:
            raise UserError("the network cannot be exported: no layer averages padding")
        self._pool("avg_pool", result, x, kernel, stride, padding, ceil_mode, (0, 0, 0, 0))

    def _pool(
        self, kind: Kind, result: Tensor, x: Tensor, kernel: Any, stride: Any, padding: Any,
        ceil_mode: bool, sides: Sides,
    ) -> None:  # fmt: skip
        kernels, strides = _pair(kernel), _pair(kernel if stride is None else stride)
        height, width = _pair(padding)
        top, left, bottom, right = sides
        sides = (top + height, left + width, bottom + height, right + width)
        if ceil_mode:  # the last windows reach over the border
            reach = [
                (out - 1) * step + size - have
                for out, step, size, have in zip(
                    result.shape[2:], strides, kernels, x.shape[2:], strict=True
                )
            ]
            sides = (sides[0], sides[1], max(0, reach[0] - sides[0]), max(0, reach[1] - sides[1]))
        self.add_layer(result, kind, [x], kernel=kernels, stride=strides, padding=sides)

    def pad(
        self, result: Tensor, x: Tensor, pad: Any, mode: str = "constant", value: Any = None
    ) -> None:
        """F.pad of height and width, with zeros or, before a maximum, with -inf."""
        left, right, top, bottom = (*pad, 0, 0, 0, 0)[:4]
        if mode != "constant" or len(pad) > 4 or value not in (None, 0, -float("inf")):
            raise UserError(f"the network cannot be exported: no layer pads so ({mode}, {value})")
        if not any(pad):
            self.same(result, x)
        elif value == -float("inf"):
            self._bottomless[id(result)] = (top, left, bottom, right)
            self.same(result, x)
        else:
            self.add_layer(result, "pad", [x], padding=(top, left, bottom, right))

    def item(self, result: Tensor, x: Tensor, index: Any) -> None:
        """x[:, :, a::b, c::d]."""
        if id(x) not in self._values:
            return
        full = slice(None)
        whole = isinstance(index, tuple) and len(index) == 4 and index[:2] == (full, full)
        if not whole or any(each.stop is not None for each in index[2:]):
            raise UserError("the network cannot be exported: no layer takes such a part of a map")
        start = tuple(each.start or 0 for each in index[2:])
        self.add_layer(
            result, "slice", [x], start=start, step=tuple(i.step or 1 for i in index[2:])
        )

    def times(self, result: Tensor, x: Tensor, y: Tensor) -> None:
        """A product: with one alone."""
        ones = [id(each) in self._ones for each in (x, y)]
        if not any(ones):
            raise UserError("the network cannot be exported: no layer multiplies values")
        self.same(result, y if ones[0] else x)

    def plus(self, result: Tensor, x: Tensor, y: Tensor, alpha: float = 1) -> None:
        """A sum."""
        self.add_layer(result, "add", [x, y])

    def cat(self, result: Tensor, tensors: Any, dim: int = 0) -> None:
        """torch.cat along the channels."""
        if dim != 1:
            raise UserError(f"the network cannot be exported: no layer joins along {dim}")
        if len(tensors) == 1:
            self.same(result, tensors[0])
        else:
            self.add_layer(result, "concat", list(tensors))

    def mean(self, result: Tensor, x: Tensor, dim: Any = None, keepdim: bool = False) -> None:
        """x.mean(dim=(2, 3))."""
        if dim is None or tuple(dim) != (2, 3) or keepdim:
            raise UserError("the network cannot be exported: no layer takes such a mean")
        self.add_layer(result, "mean", [x])

    def linear(self, result: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> None:
        """F.linear."""
        self.add_layer(result, "linear", [x], {"weight": weight, "bias": bias})

    def alike(self, result: Tensor, x: Tensor, *args: Any, **kwargs: Any) -> None:
        """Another layout of the same numbers."""
        if id(x) in self._values:
            self.same(result, x)


_HANDLERS: Mapping[str, Callable[..., None]] = {
    "conv2d": _Recorder.conv,
    "batch_norm": _Recorder.batch_norm,
    "relu": _Recorder.relu,
    "max_pool2d": _Recorder.max_pool,
    "avg_pool2d": _Recorder.avg_pool,
    "pad": _Recorder.pad,
    "__getitem__": _Recorder.item,
    "mul": _Recorder.times,
    "__mul__": _Recorder.times,
    "add": _Recorder.plus,
    "__add__": _Recorder.plus,
    "cat": _Recorder.cat,
    "mean": _Recorder.mean,
    "linear": _Recorder.linear,
    "contiguous": _Recorder.alike,
}


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    first, last = value if len(value) == 2 else (*value, *value)
    return int(first), int(last)
