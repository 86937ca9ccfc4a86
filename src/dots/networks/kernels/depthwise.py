"""Depthwise convolution whose gradients avoid the slow paths of PyTorch's CPU kernels.

oneDNN, the CPU backend, is as fast as memory allows in the forward pass of a channels-last
depthwise convolution, and an order of magnitude slower in most of its gradients: the input
gradient of a dilated one, and the weight gradient unless the kernel is undilated, at most three
columns wide, and no taller than the image. Exact identities turn every gradient that the search
spaces need into fast calls:

- the input gradient is a forward convolution with the kernel turned by 180 degrees, at a stride
  with the pixels of the gradient spread among zeros;
- with a dilation d the image falls apart into d² images that never meet: the rows of each phase
  go to the batch, and the columns of each phase to the channels, where they already are (in
  memory, [.., W, C] is [.., W/d, d·C]);
- a stride that divides the dilation reads every stride-th pixel only: take those, and both
  shrink;
- the columns of a kernel at the offsets -m, 0, m are a kernel of three columns on the image whose
  pixels are folded by m into the channels, so a 5×5 kernel takes m = 1 and m = 2;
- an image of fewer rows than the kernel is padded: zeros add nothing to a weight gradient.

Elsewhere (other devices, data types, autocast, shapes) the stock kernel runs.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

FAST_TYPES = (torch.float32,)
"""Where the identities are faster; oneDNN has no float64."""


def depthwise(x: Tensor, weight: Tensor, *, stride: int, padding: int, dilation: int) -> Tensor:
    """Convolve each channel with its own kernel: `conv2d(x, weight, ..., groups=C)`.

    x: [B, C, H, W], weight: [C, 1, k, k]. Differentiable any number of times. Where the
    identities apply, the result is channels-last.
    """
    if _identities_apply(x, weight, stride, padding, dilation):
        result: Tensor = _Depthwise.apply(x, weight, stride, dilation)
        return result
    return F.conv2d(x, weight, None, stride, padding, dilation, groups=x.shape[1])


def average_pool(x: Tensor, stride: int, *, fast: bool) -> Tensor:
    """3×3 average pooling with padding 1, which does not count: [B, C, H, W].

    As a sum by a depthwise convolution where that is faster.
    """
    if fast:
        weight = x.new_ones(x.shape[1], 1, 3, 3)
        if _identities_apply(x, weight, stride, 1, 1):
            one = x.new_ones(1, 1, *x.shape[2:])
            counts = F.avg_pool2d(one, 3, stride, 1, divisor_override=1)
            sums = depthwise(x, weight, stride=stride, padding=1, dilation=1)
            return sums * counts.reciprocal_()
    return F.avg_pool2d(averageable(x), 3, stride, 1, count_include_pad=False)


def averageable(x: Tensor) -> Tensor:
    """x as average pooling with padding may take it: on a GPU NCHW.

    There the gradient of channels-last maps is wrong with PyTorch 2.11 and others
    (github.com/pytorch/pytorch/issues/188344).
    """
    return x.contiguous() if x.device.type == "cuda" else x


def _identities_apply(x: Tensor, weight: Tensor, stride: int, padding: int, dilation: int) -> bool:
    kernel = weight.shape[-1]
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype
        and x.dtype in FAST_TYPES
        and not torch.is_autocast_enabled("cpu")
        and torch.is_grad_enabled()
        and x.numel() > 0
        and kernel >= 3
        and kernel % 2 == 1
        and weight.shape[-2] == kernel
        and padding == dilation * (kernel // 2)
        and (dilation % stride == 0 or (stride == 2 and dilation == 1 and kernel <= 5))
    )


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.dilation = stride, dilation
        return _convolve(x.contiguous(memory_format=torch.channels_last), weight, stride, dilation)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        stride, dilation = ctx.stride, ctx.dilation
        wanted = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():  # for second derivatives: the stock gradients have them
            padding = dilation * (weight.shape[-1] // 2)
            strides, paddings = [stride, stride], [padding, padding]
            by_x, by_weight = _stock(
                gradient, x, weight, strides, paddings, [dilation, dilation], wanted
            )
            return by_x, by_weight, None, None
        x = x.contiguous(memory_format=torch.channels_last)
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        by_x = _input_gradient(gradient, x, weight, stride, dilation) if wanted[0] else None
        by_weight = _weight_gradient(gradient, x, weight, stride, dilation) if wanted[1] else None
        return by_x, by_weight, None, None


def _stock(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    wanted: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    """PyTorch's gradients with respect to x and weight."""
    by_x, by_weight, _ = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, stride, padding, dilation, False, [0, 0], x.shape[1],
        [*wanted, False],
    )  # fmt: skip
    return by_x, by_weight


def _convolve(x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    padding = dilation * (weight.shape[-1] // 2)
    return F.conv2d(x, weight, None, stride, padding, dilation, groups=x.shape[1])


def _input_gradient(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: int, dilation: int
) -> Tensor:
    turned = weight.flip(2, 3)
    if stride == 1:
        return _convolve(gradient, turned, 1, dilation)
    spread = torch.zeros_like(x)
    if dilation % stride == 0:  # only the pixels that are read have a gradient
        spread[:, :, ::stride, ::stride] = _convolve(gradient, turned, 1, dilation // stride)
        return spread
    spread[:, :, ::stride, ::stride] = gradient
    return _convolve(spread, turned, 1, dilation)


def _weight_gradient(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: int, dilation: int
) -> Tensor:
    kernel = weight.shape[-1]
    radius = kernel // 2
    if dilation % stride == 0:
        x = x[:, :, ::stride, ::stride]
        stride, dilation = 1, dilation // stride
    # Every phase gets at least `kernel` rows, and columns that fold evenly.
    rows = dilation * max(kernel, -(-gradient.shape[2] // dilation))
    fold = dilation * math.lcm(*range(1, radius + 1))
    columns = fold * -(-gradient.shape[3] // fold)
    x = _phases(_padded(x, stride * rows, stride * columns), dilation)
    gradient = _phases(_padded(gradient, rows, columns), dilation)
    result = torch.empty_like(weight)
    for offset in range(1, radius + 1):
        part = _three_columns(gradient, x, kernel, offset, stride)
        part = part.view(-1, *weight.shape[:2], kernel, 3).sum(0)
        result[..., radius - offset : radius + offset + 1 : offset] = part
    return result


def _three_columns(gradient: Tensor, x: Tensor, kernel: int, offset: int, stride: int) -> Tensor:
    """The kernel's columns -offset, 0 and offset: [m·C, 1, kernel, 3], to be summed over m."""
    strides = [stride, stride]
    if stride == 1:
        x, gradient = _folded(x, offset), _folded(gradient, offset)
    elif offset == stride:  # these columns see every stride-th pixel only
        x = x[..., ::stride].contiguous(memory_format=torch.channels_last)
        strides = [stride, 1]
    weight = x.new_empty(x.shape[1], 1, kernel, 3)
    paddings = [kernel // 2, 1]
    part = _stock(gradient, x, weight, strides, paddings, [1, 1], (False, True))[1]
    assert part is not None
    return part


def _padded(x: Tensor, rows: int, columns: int) -> Tensor:
    """Zeros below and to the right, up to [rows, columns]."""
    below, right = rows - x.shape[2], columns - x.shape[3]
    return F.pad(x, (0, right, 0, below)) if below or right else x


def _phases(x: Tensor, dilation: int) -> Tensor:
    """[B, C, H, W] -> [dilation·B, dilation·C, H/dilation, W/dilation]."""
    if dilation == 1:
        return x
    batch, channels, height, width = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(batch, height // dilation, dilation, width * channels)
    images = rows.transpose(1, 2).reshape(
        dilation * batch, height // dilation, width // dilation, dilation * channels
    )
    return images.permute(0, 3, 1, 2)


def _folded(x: Tensor, pixels: int) -> Tensor:
    """Neighbours in a row become channels: [B, C, H, W] -> [B, pixels·C, H, W/pixels]."""
    if pixels == 1:
        return x
    batch, channels, height, width = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(batch, height, width // pixels, pixels * channels)
    return rows.permute(0, 3, 1, 2)
