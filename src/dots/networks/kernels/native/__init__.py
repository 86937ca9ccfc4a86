"""The kernels in C++, where they were built: `blocks.cpp`, `joined.cpp`, `sums.cpp`.

They are built with the package where there is a C++ compiler (`hatch_build.py`), as a shared
library with a C interface for each kind of processor. Without it everything runs on PyTorch's
own kernels, more slowly and with the same results up to rounding. The environment variable
DOTS_KERNELS chooses others than the processor's best: avx512, avx2, neon or none.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from dots.common.errors import UserError
from dots.networks.kernels.native.build import MACHINES, digest

HERE = Path(__file__).parent
LIBRARIES: Mapping[str, str] = MappingProxyType(
    {"AVX512": "kernels-avx512.so", "AVX2": "kernels-avx2.so", "NEON": "kernels-neon.so"}
)
CHOICE = "DOTS_KERNELS"
KERNEL_SIZES = (3, 5, 7)
"""Of depthwise convolutions that they compute."""


class BlockShape(ctypes.Structure):
    """`DotsBlock` of blocks.cpp: a map [images, height, width, channels] and its block."""

    _fields_ = tuple(
        (name, ctypes.c_ssize_t)
        for name in (
            "images", "height", "width", "channels", "outputs", "kernel", "stride", "dilation",
        )
    )  # fmt: skip


def output_size(shape: BlockShape) -> tuple[int, int]:
    """Height and width of a block's output."""
    return -(-int(shape.height) // int(shape.stride)), -(-int(shape.width) // int(shape.stride))


class Kernels:
    """The functions of a library. Tensors are contiguous, on the CPU, and float32 unless said.

    Raises OSError for a library that cannot be loaded, or is not that of the sources beside it.
    """

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        library.dots_sources.restype = ctypes.c_char_p
        if library.dots_sources().decode() != digest(path.parent):
            raise OSError(f"{path} was built from other sources")
        self.kind = path.stem.removeprefix("kernels-").upper()
        library.dots_lanes.restype = ctypes.c_ssize_t
        self.fewest_channels = int(library.dots_lanes())
        """Of the maps of blocks; sums take any number."""
        size, pointer, shape = ctypes.c_ssize_t, ctypes.c_void_p, ctypes.POINTER(BlockShape)

        def function(name: str, *arguments: Any) -> Any:
            found = getattr(library, name)
            found.argtypes, found.restype = [*arguments, size], None  # threads come last
            return found

        self._forward = function("dots_block_forward", shape, *[pointer] * 8)
        self._backward = function("dots_block_backward", shape, *[pointer] * 15)
        self._joined_forward = function("dots_joined_forward", *[size] * 4, *[pointer] * 6)
        self._joined_backward = function("dots_joined_backward", *[size] * 4, *[pointer] * 6)
        self._moments = function("dots_moments", *[size] * 3, *[pointer] * 3)
        self._sum = function("dots_sum", *[size] * 4, *[pointer] * 5)
        self._sum_gradients = function("dots_sum_gradients", *[size] * 4, *[pointer] * 3)
        self._map_gradients = function("dots_map_gradients", *[size] * 4, *[pointer] * 6)

    def block_forward(
        self,
        shape: BlockShape,
        x: Tensor,
        affine: tuple[Tensor, Tensor] | None,
        kernel: Tensor,
        pointwise: Tensor,
        out: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Fill `out`; its mean and (biased) variance [outputs] in float64.

        x: [images, height · width, channels], taken as relu(scale x + shift) with `affine`
        ([channels] each).
        """
        scale, shift = affine or (None, None)
        mean, variance = x.new_empty(2, shape.outputs, dtype=torch.float64).unbind()
        tensors = (x, scale, shift, kernel, pointwise, out, mean, variance)
        self._forward(shape, *map(_address, tensors), torch.get_num_threads())
        return mean, variance

    def block_backward(
        self,
        shape: BlockShape,
        gradient: Tensor,
        lazy: tuple[Tensor, Tensor, Tensor, Tensor] | None,
        x: Tensor,
        affine: tuple[Tensor, Tensor] | None,
        centre: Tensor | None,
        kernel: Tensor,
        pointwise: Tensor,
        wanted: tuple[bool, bool],
    ) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """Gradients of x, and of kernel and pointwise where they are wanted.

        The gradient of `out` is `gradient`, or with `lazy`, (u, factor, slope, offset),
        factor · gradient + slope · u + offset. With `affine` the first result D is the
        gradient of scale x + shift, and the last one holds Σ D and Σ D (x - centre),
        [2, channels] in float64.
        """
        u, factor, slope, offset = lazy or (None,) * 4
        scale, shift = affine or (None, None)
        by_x = torch.empty_like(x)
        by_kernel = torch.empty_like(kernel) if wanted[0] else None
        by_pointwise = torch.empty_like(pointwise) if wanted[1] else None
        sums = None if affine is None else x.new_empty(2, shape.channels, dtype=torch.float64)
        tensors = (
            gradient, u, factor, slope, offset, x, scale, shift, centre, kernel, pointwise,
            by_x, by_kernel, by_pointwise, sums,
        )  # fmt: skip
        self._backward(shape, *map(_address, tensors), torch.get_num_threads())
        return by_x, by_kernel, by_pointwise, sums

    def joined_forward(
        self, maps: Sequence[Tensor], pointwise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """pointwise times the maps side by side, with its mean and (biased) variance in float64.

        maps: [images, positions, C_i]; pointwise: [outputs, Σ C_i].
        """
        images, positions, _ = maps[0].shape
        out = maps[0].new_empty(images, positions, len(pointwise))
        mean, variance = out.new_empty(2, len(pointwise), dtype=torch.float64).unbind()
        tensors = (pointwise, out, mean, variance)
        self._joined_forward(
            len(maps), images, positions, len(pointwise), _channels(maps), _addresses(maps),
            *map(_address, tensors), torch.get_num_threads(),
        )  # fmt: skip
        return out, mean, variance

    def joined_backward(
        self,
        gradient: Tensor,
        maps: Sequence[Tensor],
        pointwise: Tensor,
        wanted: Sequence[bool],
    ) -> tuple[Tensor | None, list[Tensor | None]]:
        """Gradients of pointwise and of the maps where they are wanted, in this order."""
        images, positions, outputs = gradient.shape
        by_pointwise = torch.empty_like(pointwise) if wanted[0] else None
        by_maps = _like(maps, wanted[1:])
        self._joined_backward(
            len(maps), images, positions, outputs, _channels(maps), _address(gradient),
            _addresses(maps), _address(pointwise), _addresses(by_maps), _address(by_pointwise),
            torch.get_num_threads(),
        )  # fmt: skip
        return by_pointwise, by_maps

    def moments(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and (biased) variance [C] of a map [images, positions, C], in float64."""
        mean, variance = z.new_empty(2, z.shape[2], dtype=torch.float64).unbind()
        self._moments(*z.shape, *map(_address, (z, mean, variance)), torch.get_num_threads())
        return mean, variance

    def add_scaled(
        self, total: Tensor | None, maps: Sequence[Tensor], factors: Tensor, offset: Tensor
    ) -> Tensor:
        """total + Σ factor · map + offset: `total` itself, or a new map [images, positions, C].

        factors: [maps, C]; offset: [C].
        """
        out = torch.empty_like(maps[0]) if total is None else total
        tensors = (factors, offset, total, out)
        self._sum(
            len(maps), *out.shape, _addresses(maps), *map(_address, tensors),
            torch.get_num_threads(),
        )  # fmt: skip
        return out

    def channel_products(self, gradient: Tensor, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Σ gradient [C] and Σ gradient · map [maps, C] over images and positions, in float64."""
        images, positions, channels = gradient.shape
        sums = gradient.new_empty(images, len(maps) + 1, channels, dtype=torch.float64)
        self._sum_gradients(
            len(maps), images, positions, channels, _address(gradient), _addresses(maps),
            _address(sums), torch.get_num_threads(),
        )  # fmt: skip
        totals = sums.sum(0)
        return totals[0], totals[1:]

    def map_gradients(
        self,
        gradient: Tensor,
        maps: Sequence[Tensor],
        factors: Tensor,
        slopes: Tensor,
        shifts: Tensor,
        wanted: Sequence[bool],
    ) -> list[Tensor | None]:
        """factor · gradient + slope · map + shift for each map that is wanted; [maps, C] each."""
        out = _like(maps, wanted)
        tensors = (factors, slopes, shifts)
        self._map_gradients(
            len(maps), *gradient.shape, _address(gradient), _addresses(maps),
            *map(_address, tensors), _addresses(out), torch.get_num_threads(),
        )  # fmt: skip
        return out


def runnable() -> tuple[str, ...]:
    """The kinds of kernels that this processor can run, the best first."""
    if MACHINES.get(platform.machine().lower()) == "arm":
        return ("NEON",)
    kinds = ("AVX512", "AVX2")  # as PyTorch calls what a processor is capable of
    capability = torch.backends.cpu.get_cpu_capability()
    return kinds[kinds.index(capability) :] if capability in kinds else ()


@functools.cache
def kernels() -> Kernels | None:
    """Those in use; None where there are none that can be used.

    Raises UserError where DOTS_KERNELS asks for what is not there.
    """
    asked = os.environ.get(CHOICE, "").upper()
    kinds = runnable()
    if asked and asked not in (*kinds, "NONE"):
        choices = ", ".join((*kinds, "NONE")).lower()
        raise UserError(f"{CHOICE}={os.environ[CHOICE]!r}: on this processor choose of {choices}")
    for kind in [asked] if asked else kinds[:1]:
        try:
            return None if kind == "NONE" else Kernels(HERE / LIBRARIES[kind])
        except OSError as error:  # not built, or from other sources, or for another system
            if asked:
                raise UserError(
                    f"{CHOICE}={os.environ[CHOICE]!r}: {error}; build them by "
                    "'python -m dots.networks.kernels.native'"
                ) from None
    return None


def kind() -> str:
    """Of the kernels in use: AVX512, AVX2, NEON or "none"."""
    found = kernels()
    return "none" if found is None else found.kind


def kernels_for(*tensors: Tensor) -> Kernels | None:
    """Those that take these tensors; None where PyTorch's are to be taken."""
    takes = all(x.device.type == "cpu" and x.dtype == torch.float32 for x in tensors)
    return kernels() if takes and not torch.is_autocast_enabled("cpu") else None


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _addresses(tensors: Sequence[Tensor | None]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*map(_address, tensors))


def _like(maps: Sequence[Tensor], wanted: Sequence[bool]) -> list[Tensor | None]:
    """Where to write: a new map for each that is wanted."""
    pairs = zip(maps, wanted, strict=True)
    return [torch.empty_like(z) if needs else None for z, needs in pairs]


def _channels(maps: Sequence[Tensor]) -> ctypes.Array[ctypes.c_ssize_t]:
    return (ctypes.c_ssize_t * len(maps))(*[z.shape[2] for z in maps])
