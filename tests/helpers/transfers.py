"""Counts what a step makes the host wait for, on a device that computes nothing ("meta").

Code takes the ways there that it takes on a GPU, since that is no CPU either. Reading a value
(`item`, `tolist`, `bool`, ...) and copying between host and device are the calls at which
PyTorch waits for a GPU. So is an index by a list, which PyTorch copies below all
that a dispatch mode sees, and any call that is given tensors of both. A call whose result's
shape depends on values (`nonzero`, indexing by a mask) waits too; "meta" refuses those.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")
READS = ("item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__")
INDEXERS = ("__getitem__", "__setitem__")
MAKERS = (torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor)


class Transfers:
    """What has been counted while entered: the names of the calls, in order."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._modes = (_Functions(self.calls), _Copies(self.calls))

    def __enter__(self) -> list[str]:
        for mode in self._modes:
            mode.__enter__()
        return self.calls

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)


class _Functions(TorchFunctionMode):
    """Counts reads, and tensors made of Python's numbers on the device.

    What is read is invented: every flag is true, every number one.
    """

    def __init__(self, calls: list[str]) -> None:
        super().__init__()
        self.calls = calls

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = getattr(function, "__name__", "")
        first = args[0] if args else None
        if name in READS and isinstance(first, Tensor) and first.device == META:
            self.calls.append(resolve_name(function) or name)
            return _invented(name, first)
        if name in INDEXERS and first.device == META and _of_the_host(args[1]):
            self.calls.append(resolve_name(function) or name)
        result = function(*args, **(kwargs or {}))
        if function in MAKERS and result.device == META:
            self.calls.append(resolve_name(function) or name)
        return result


def _of_the_host(index: Any) -> bool:
    """Whether an index holds numbers that are copied; tensors and arrays are seen when they are."""
    if isinstance(index, tuple):
        return any(map(_of_the_host, index))
    return isinstance(index, list | range)


def _invented(name: str, tensor: Tensor) -> Any:
    ones = torch.ones(tensor.shape, dtype=tensor.dtype, device="cpu")
    result = {"cpu": lambda: ones, "numpy": ones.numpy, "tolist": ones.tolist}.get(name, ones.item)
    kind = {"__bool__": bool, "__int__": int, "__float__": float, "__index__": int}.get(name)
    return result() if kind is None else kind(result())


class _Copies(TorchDispatchMode):
    """Counts copies from one device to the other, and calls with tensors of both."""

    def __init__(self, calls: list[str]) -> None:
        super().__init__()
        self.calls = calls

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = function.overloadpacket.__name__
        if name == "_to_copy" and kwargs.get("device", args[0].device) != args[0].device:
            self.calls.append(name)
        if name == "copy_" and args[0].device != args[1].device:
            self.calls.append(name)
        if name not in ("_to_copy", "copy_"):
            tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
            if len({tensor.device for tensor in tensors}) > 1:
                self.calls.append(name)
        if name in ("_sample_dirichlet", "_dirichlet_grad"):  # which "meta" lacks
            return torch.empty_like(args[0])
        return function(*args, **kwargs)
