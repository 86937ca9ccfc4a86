"""Chains of depthwise blocks: the convolutions of the search spaces, in few passes over memory.

A block is a depthwise convolution, then a 1×1 convolution. A separable convolution is two of
them with batch norm and ReLU in between, a dilated one is one. Module by module every one of
these steps writes a map of a batch to main memory and reads it again, and so does its
gradient: main memory, not arithmetic, is what they take time for. The kernels of
`native` take a block at once, image by image, with all that is within in the caches:

- batch norm and ReLU before a block are taken while its input is read, and their gradient,
  an affine map of that of their output and their input, while the gradient is read;
- the moments of a block's output, which the batch norm after it needs, while it is written;
- the output of the depthwise convolution is computed again in the backward pass.

With D the gradient of norm(u) = γ (u - μ) r + β, r = (v + ε)^(-1/2), over N positions,

    ∂β = Σ D,   ∂γ = r Σ D (u - μ),   ∂u = γ r (D - ∂β / N - (u - μ) r ∂γ / N).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dots.networks.kernels.batch_statistics import takes_batch, update_running
from dots.networks.kernels.native import KERNEL_SIZES, BlockShape, Kernels, kernels_for, output_size
from dots.networks.kernels.normed_sum import Measured, Moments, in_type_of
from dots.networks.kernels.products import as_map, as_rows, differentiable_gradients


class Block(NamedTuple):
    """conv1x1(depthwise convolution), with the padding that keeps sizes at stride 1.

    kernel: [C, 1, k, k]; pointwise: [Cout, C, 1, 1].
    """

    kernel: Tensor
    pointwise: Tensor
    stride: int
    dilation: int

    def __call__(self, x: Tensor) -> Tensor:
        """The same with stock modules."""
        padding = self.dilation * (self.kernel.shape[-1] // 2)
        z = F.conv2d(x, self.kernel, None, self.stride, padding, self.dilation, x.shape[1])
        return F.conv2d(z, self.pointwise)


def chainable(x: Tensor, blocks: Sequence[Block], norms: Sequence[nn.BatchNorm2d]) -> bool:
    """Whether `chain` takes these; else the steps are to be taken one by one."""
    native = kernels_for(x, *_weights(blocks))
    return (
        native is not None
        and torch.is_grad_enabled()
        and all(block.kernel.shape[2:] in _SIZES for block in blocks)
        and all(min(block.pointwise.shape[:2]) >= native.fewest_channels for block in blocks)
        and all(type(norm) is nn.BatchNorm2d and takes_batch(norm) for norm in norms)
        and _positions(_shapes(x, blocks)[-1]) > 1
    )


_SIZES = tuple((size, size) for size in KERNEL_SIZES)


def chain(x: Tensor, blocks: Sequence[Block], norms: Sequence[nn.BatchNorm2d]) -> Measured:
    """The blocks of x [B, C, H, W], with a norm and ReLU between each two.

    What is chainable, that is. `norms` are those in between, one fewer than blocks; they take
    the statistics of the batch and keep running ones. Twice differentiable.
    """
    weights = _weights(blocks)
    native = kernels_for(x, *weights)
    assert native is not None, "see chainable"
    shapes = _shapes(x, blocks)
    plan = _Plan(native, shapes, tuple(norm.eps for norm in norms))
    parameters = [tensor for norm in norms for tensor in (norm.weight, norm.bias)]
    features, *moments = _Chain.apply(plan, x, *weights, *parameters)
    *inner, last = zip(moments[::2], moments[1::2], strict=True)
    for norm, shape, (mean, variance) in zip(norms, shapes, inner, strict=False):
        update_running([norm], mean[None], variance[None], _positions(shape))
    return Measured(features, Moments(*last))


def _weights(blocks: Sequence[Block]) -> list[Tensor]:
    return [tensor for block in blocks for tensor in (block.kernel, block.pointwise)]


def _shapes(x: Tensor, blocks: Sequence[Block]) -> tuple[BlockShape, ...]:
    images, _, height, width = x.shape
    shapes = []
    for kernel, pointwise, stride, dilation in blocks:
        outputs, channels = pointwise.shape[:2]
        sizes = images, height, width, channels, outputs, kernel.shape[-1], stride, dilation
        shapes.append(BlockShape(*sizes))
        height, width = output_size(shapes[-1])
    return tuple(shapes)


def _positions(shape: BlockShape) -> int:
    """Of a block's output, in the whole batch."""
    height, width = output_size(shape)
    return int(shape.images) * height * width


class _Plan(NamedTuple):
    native: Kernels
    shapes: tuple[BlockShape, ...]
    eps: tuple[float, ...]


class _Norm(NamedTuple):
    """A norm with the statistics of a batch, [C] each in float64: (u - mean) scale + shift."""

    mean: Tensor
    inverse_std: Tensor
    scale: Tensor

    @classmethod
    def of(cls, mean: Tensor, variance: Tensor, eps: float, weight: Tensor | None) -> _Norm:
        inverse_std = (variance + eps).rsqrt_()
        return cls(mean, inverse_std, inverse_std if weight is None else inverse_std * weight)

    def affine(self, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Factor and offset of u, in float32."""
        offset = -self.mean * self.scale
        if bias is not None:
            offset += bias
        return self.scale.float(), offset.float()

    def gradient(self, sums: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Factor of D, slope and offset of ∂u (see above) from Σ D and Σ D (u - mean)."""
        slope = -self.scale * self.inverse_std.square() * sums[1] / count
        offset = -self.scale * sums[0] / count - slope * self.mean
        return self.scale.float(), slope.float(), offset.float()


class _Chain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: _Plan, x: Tensor, *parameters: Tensor | None) -> tuple[Tensor, ...]:
        native, count = plan.native, len(plan.shapes)
        weights, affine = _pairs(parameters[: 2 * count]), _pairs(parameters[2 * count :])
        maps, norms, moments = [as_rows(x)], [], []
        before: tuple[Tensor, Tensor] | None = None
        for index, (shape, (kernel, pointwise)) in enumerate(
            zip(plan.shapes, weights, strict=True)
        ):
            out = x.new_empty(len(x), *output_size(shape), shape.outputs)
            mean, variance = native.block_forward(
                shape, maps[-1], before, kernel.contiguous(), pointwise.contiguous(), out
            )
            maps.append(out)
            moments += [mean, variance]
            if index < len(affine):
                weight, bias = affine[index]
                norms.append(_Norm.of(mean, variance, plan.eps[index], weight))
                before = norms[-1].affine(bias)
        ctx.plan, ctx.norms = plan, norms
        ctx.save_for_backward(x, *parameters, *maps[1:-1])
        ctx.mark_non_differentiable(*moments)
        return maps[-1].permute(0, 3, 1, 2), *moments

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        plan, saved = ctx.plan, ctx.saved_tensors
        count = len(plan.shapes)
        inputs, inner = saved[: len(saved) - count + 1], saved[len(saved) - count + 1 :]
        if torch.is_grad_enabled():
            return None, *_differentiable(plan, gradients[0], inputs, ctx.needs_input_grad[1:])
        native, maps = plan.native, [as_rows(inputs[0]), *inner]
        weights, affine = _pairs(inputs[1 : 2 * count + 1]), _pairs(inputs[2 * count + 1 :])
        wanted = _pairs(ctx.needs_input_grad[2 : 2 * count + 2])
        by_weights: list[Tensor | None] = []
        by_affine: list[Tensor | None] = []
        gradient, lazy = as_rows(gradients[0]), None
        for index in reversed(range(count)):
            norm = ctx.norms[index - 1] if index else None
            kernel, pointwise = weights[index]
            before = centre = None
            if norm is not None:
                before, centre = norm.affine(affine[index - 1][1]), norm.mean.float()
            by_map, by_kernel, by_pointwise, sums = native.block_backward(
                plan.shapes[index], gradient, lazy, maps[index], before, centre,
                kernel.contiguous(), pointwise.contiguous(), wanted[index],
            )  # fmt: skip
            by_weights = [by_kernel, by_pointwise, *by_weights]
            gradient = by_map
            if norm is None or sums is None:
                continue
            lazy = (maps[index], *norm.gradient(sums, _positions(plan.shapes[index - 1])))
            weight, bias = affine[index - 1]
            by_scale, by_shift = sums[1] * norm.inverse_std, sums[0]
            by_affine = [in_type_of(by_scale, weight), in_type_of(by_shift, bias), *by_affine]
        return None, as_map(gradient, inputs[0]), *by_weights, *by_affine


def _pairs(tensors: Sequence[Any]) -> list[tuple[Any, Any]]:
    return list(zip(tensors[::2], tensors[1::2], strict=True))


def _differentiable(
    plan: _Plan,
    gradient: Tensor,
    inputs: Sequence[Tensor | None],
    needed: Sequence[bool],
) -> list[Tensor | None]:
    """The gradients by automatic differentiation of stock modules, to be differentiated."""
    y, *parameters = inputs
    count = len(plan.shapes)
    weights, affine = _pairs(parameters[: 2 * count]), _pairs(parameters[2 * count :])
    assert y is not None
    for index, (shape, (kernel, pointwise)) in enumerate(zip(plan.shapes, weights, strict=True)):
        if index:
            weight, bias = affine[index - 1]
            y = F.relu(F.batch_norm(y, None, None, weight, bias, True, 0.0, plan.eps[index - 1]))
        y = Block(kernel, pointwise, shape.stride, shape.dilation)(y)
    return differentiable_gradients(y, gradient, inputs, needed)
