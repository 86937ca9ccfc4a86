"""A separable or dilated convolution of any width, in float32 or bfloat16, by programs in Triton.

Depthwise convolution, with norm and ReLU before it, is one pass over memory, the product with
the 1×1 kernel a matrix product of PyTorch's, the norm after it two passes. For networks whose
edges are few and wide, where those of `separable` do not serve.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dots.common.devices import runs_triton
from dots.networks.kernels.batch_statistics import takes_batch
from dots.networks.kernels.blocks import Block
from dots.networks.kernels.products import as_map, as_rows, differentiable_gradients
from dots.networks.kernels.triton.grid import Sizes

WIDEST = 512
"""Channels of which a program has a few positions at once."""


def chainable(x: Tensor, blocks: Sequence[Block], norms: Sequence[nn.BatchNorm2d]) -> bool:
    """Whether `chain` takes these, a norm after each block."""
    return (
        runs_triton(x.device)
        and x.dtype in (torch.float32, torch.bfloat16)
        and x.shape[1] <= WIDEST
        and all(block.kernel.dtype == torch.float32 for block in blocks)
        and all(block.pointwise.shape[0] == block.pointwise.shape[1] for block in blocks)
        and all(type(norm) is nn.BatchNorm2d and norm.momentum is not None for norm in norms)
        and (all(map(takes_batch, norms)) or not torch.is_grad_enabled())
        and Sizes.of(x.shape, blocks[0].stride).positions > 1
    )


def chain(x: Tensor, blocks: Sequence[Block], norms: Sequence[nn.BatchNorm2d]) -> Tensor:
    """ReLU, block and norm, again and again: [B, C, H, W] -> [B, C, H', W'], channels-last.

    In the type of x, or that of autocast. Norms take the statistics of the batch and keep
    running ones, or take those. Twice differentiable in training.
    """
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    parameters = [
        tensor
        for block, norm in zip(blocks, norms, strict=True)
        for tensor in (block.kernel, block.pointwise, norm.weight, norm.bias)
    ]
    sizes = [Sizes.of(x.shape, blocks[0].stride)]
    sizes += [sizes[0].inner] * (len(blocks) - 1)
    result: Tensor = _Chain.apply(_Plan(blocks, norms, sizes), x, *parameters)
    return result


class _Plan(NamedTuple):
    blocks: Sequence[Block]
    norms: Sequence[nn.BatchNorm2d]
    sizes: Sequence[Sizes]


class _Norm(NamedTuple):
    """As programs take it: [C] each."""

    mean: Tensor
    inverse_std: Tensor
    scale: Tensor
    shift: Tensor

    @classmethod
    def new(cls, like: Tensor, scale: Tensor | None, shift: Tensor | None) -> _Norm:
        """Without statistics yet, for as many channels as rows of `like`."""
        mean, inverse_std = like.new_empty(2, len(like))
        scale = like.new_ones(len(like)) if scale is None else scale
        return cls(mean, inverse_std, scale, like.new_zeros(len(like)) if shift is None else shift)


class _Chain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: _Plan, x: Tensor, *parameters: Tensor | None) -> Tensor:
        from dots.networks.kernels.triton import programs

        read, before = as_rows(x), None
        kept: list[Tensor] = []
        for (kernel, pointwise, scale, shift), block, norm, sizes in zip(
            _fours(parameters), plan.blocks, plan.norms, plan.sizes, strict=True
        ):
            z = x.new_empty(sizes.positions, sizes.channels)
            inputs = before or (kernel,) * 4  # none are read
            programs.depthwise[(sizes.tiles(sizes.positions),)](
                read, *inputs, kernel, z,
                kernel.shape[-1], block.dilation, sizes.positions, *sizes.plane,
                STRIDE=sizes.stride, NORMED=before is not None, P=sizes.tile, **sizes.shape,
            )  # fmt: skip
            read = z @ pointwise.flatten(1).to(z.dtype).T
            before = _Norm.new(kernel, scale, shift)
            _measure(before, norm, read, sizes)
            kept += [z, read, *before]
        assert before is not None
        out = torch.empty_like(read)
        programs.normalise[(sizes.tiles(sizes.positions),)](
            read, *before, out, sizes.positions, P=sizes.tile, **sizes.shape
        )
        ctx.plan = plan
        ctx.save_for_backward(x, *parameters, *kept)
        return out.view(sizes.images, *sizes.plane[2:], -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        plan, saved = ctx.plan, ctx.saved_tensors
        inputs = saved[: 1 + 4 * len(plan.blocks)]
        if torch.is_grad_enabled():
            return None, *_differentiable(plan, gradients[0], inputs, ctx.needs_input_grad[1:])
        from dots.networks.kernels.triton import programs

        x, parameters, kept = inputs[0], _fours(inputs[1:]), saved[len(inputs) :]
        wanted = _fours(ctx.needs_input_grad[2:])
        steps = [
            (kept[i], kept[i + 1], _Norm(*kept[i + 2 : i + 6])) for i in range(0, len(kept), 6)
        ]
        found: list[Tensor | None] = []
        gradient = as_rows(gradients[0].to(x.dtype))
        tiles = plan.sizes[-1].tiles(plan.sizes[-1].positions)
        sums, products = kept[2].new_empty(2, tiles, plan.sizes[-1].channels)
        summed, each = plan.sizes[-1].parts
        for index in reversed(range(len(steps))):
            (z, u, norm), sizes, (kernel, pointwise, scale, _) = (
                steps[index], plan.sizes[index], parameters[index],
            )  # fmt: skip
            if index == len(steps) - 1:
                programs.gradient_sums[summed, 1](
                    gradient, u, norm.mean, norm.mean, sums, products, 0, sizes.positions, each,
                    TABLE=False, P=sizes.tile, **sizes.shape,
                )  # fmt: skip
            factor, slope, offset, by_scale, by_shift = kernel.new_empty(5, len(kernel))
            programs.finish_gradients[1, -(-sizes.channels // 16)](
                sums, products, norm.mean, norm.inverse_std, norm.scale,
                factor, slope, offset, by_scale, by_shift, 0, sizes.positions, summed,
                SCALED="channels", **sizes.finish_apart,
            )  # fmt: skip
            by_u = torch.empty_like(u)
            programs.norm_backward[(tiles,)](
                gradient, u, factor, slope, offset, by_u, sizes.positions,
                P=sizes.tile, **sizes.shape,
            )  # fmt: skip
            by_pointwise = None
            if wanted[index][1]:
                by_pointwise = (by_u.T @ z).to(pointwise.dtype).view_as(pointwise)
            by_z = by_u @ pointwise.flatten(1).to(by_u.dtype)
            before = steps[index - 1][2] if index else norm
            gradient = x.new_empty(sizes.inputs, sizes.channels)
            summed = over = sizes.tiles(sizes.inputs)
            by_kernel = kernel.new_empty(over if wanted[index][0] else 0, *kernel.shape)
            programs.one_depthwise_backward[(over,)](
                by_z, steps[index - 1][1] if index else as_rows(x), *before, kernel,
                gradient, by_kernel, sums, products,
                kernel.shape[-1], plan.blocks[index].dilation, sizes.inputs, kernel.numel(),
                *sizes.plane,
                STRIDE=sizes.stride, NORMED=index > 0, WEIGHTS=wanted[index][0],
                P=sizes.tile, **sizes.shape,
            )  # fmt: skip
            affine = [None, None] if scale is None else [by_scale, by_shift]
            found = [by_kernel.sum(0) if wanted[index][0] else None, by_pointwise, *affine, *found]
        return None, as_map(gradient.view(len(x), -1, x.shape[1]), x), *found


def _fours(tensors: Sequence[Any]) -> list[tuple[Any, Any, Any, Any]]:
    """Of each block: kernel, 1×1 kernel, and the norm's scale and shift."""
    return [tuple(tensors[i : i + 4]) for i in range(0, len(tensors), 4)]


def _measure(own: _Norm, norm: nn.BatchNorm2d, maps: Tensor, sizes: Sizes) -> None:
    """Fill in the statistics of the batch, which the norm keeps; or those that it has kept."""
    from dots.networks.kernels.triton import programs

    if not takes_batch(norm):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        own.mean.copy_(norm.running_mean)
        torch.rsqrt(norm.running_var + norm.eps, out=own.inverse_std)
        return
    parts, each = sizes.parts
    sums, squares = own.mean.new_empty(2, parts, sizes.channels)
    programs.moments[(parts,)](
        maps, sums, squares, sizes.positions, each, P=sizes.tile, **sizes.shape
    )
    running = norm.running_mean, norm.running_var
    keeps = norm.training and norm.track_running_stats and None not in running
    if keeps and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    programs.finish_moments[1, -(-sizes.channels // 16)](
        sums, squares, own.mean, own.inverse_std,
        *(running if keeps else own[:2]), norm.momentum if keeps else 0.0, norm.eps,
        0, sizes.positions, parts, each * sizes.tile, RUNNING=keeps, **sizes.finish_apart,
    )  # fmt: skip


def _differentiable(
    plan: _Plan, gradient: Tensor, inputs: Sequence[Tensor | None], needed: Sequence[bool]
) -> list[Tensor | None]:
    """The gradients by automatic differentiation of stock modules, to be differentiated."""
    y, *parameters = inputs
    assert y is not None
    for (kernel, pointwise, scale, shift), block, norm in zip(
        _fours(parameters), plan.blocks, plan.norms, strict=True
    ):
        y = block._replace(kernel=kernel, pointwise=pointwise)(F.relu(y))
        y = F.batch_norm(y, None, None, scale, shift, True, 0.0, norm.eps)
    return differentiable_gradients(y, gradient, inputs, needed)
