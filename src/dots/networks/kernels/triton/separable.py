"""Separable and dilated convolutions on the edges that leave a node, by programs in Triton.

They are chains of depthwise blocks, as in `dots.networks.kernels.blocks`, whose algebra holds
here: a block is one pass over memory, from the map before its norm and ReLU to the map after
its 1×1 convolution and the moments of that. All blocks that read the same are one launch. What
the backward pass keeps is the source and one map for each block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dots.common.devices import runs_triton
from dots.networks.kernels.blocks import Block
from dots.networks.kernels.products import as_rows, differentiable_gradients
from dots.networks.kernels.triton.grid import Sizes

WIDEST = 64
"""Channels of which a program multiplies the matrices."""
PROGRAMS = 1024
"""Enough of them to fill a GPU."""


def serves(x: Tensor) -> bool:
    """Whether the programs take such maps [B, C, H, W]."""
    return x.dtype == torch.float32 and x.shape[1] <= WIDEST and runs_triton(x.device)


class Chain(NamedTuple):
    """Blocks, one or two, on an edge; between two are a batch norm and ReLU."""

    edge: int
    blocks: tuple[Block, ...]


class Outputs(NamedTuple):
    """Of each edge the sum of its chains, normalised and scaled; and what the norms have seen.

    edges: [B, C, H', W'] each, channels-last; mean, inverse_std: [slots, C], see `Plan`.
    """

    edges: tuple[Tensor, ...]
    mean: Tensor
    inverse_std: Tensor


class Plan:
    """The order of the blocks of some chains, their slots, and a table of it on the device.

    First come the first blocks of chains of two, then chains of one, then the second blocks.
    `edges` names the edges in the order in which they are numbered.
    """

    def __init__(self, chains: Sequence[Chain], edges: Sequence[int], device: torch.device) -> None:
        double = [index for index, chain in enumerate(chains) if len(chain.blocks) == 2]
        single = [index for index, chain in enumerate(chains) if len(chain.blocks) == 1]
        self.places = [(i, 0) for i in double + single] + [(i, 1) for i in double]
        """Of the block of each slot: its chain, and its place in it."""
        self.double, self.first = len(double), len(chains)
        """How many chains have two blocks; how many blocks read the source."""
        self.last = single + double
        """The chains, in the order of the slots of their last blocks."""
        self.edges = tuple(edges)
        rows, self.numbers = [], [0]
        for slot, (index, place) in enumerate(self.places):
            kernel = chains[index].blocks[place].kernel
            edge = self.double + self.edges.index(chains[index].edge)
            rows.append([
                kernel.shape[-1],
                chains[index].blocks[place].dilation,
                self.numbers[-1],
                slot - self.first if place else -1,
                slot if slot < self.double else edge,
            ])  # fmt: skip
            self.numbers.append(self.numbers[-1] + kernel.numel())
        self.stride = chains[0].blocks[0].stride
        self.owners = [self.edges.index(chains[index].edge) for index in self.last]
        self.steps = [chains[i].blocks[place][2:] for i, place in self.places]
        """Stride and dilation of each block."""
        self.table = torch.tensor(rows, dtype=torch.int32, device=device)

    def blocks(self, chains: Sequence[Chain]) -> list[Block]:
        """By slot."""
        return [chains[index].blocks[place] for index, place in self.places]


def separable(
    plan: Plan,
    x: Tensor,
    chains: Sequence[Chain],
    scales: Tensor,
    others: Tensor,
    factors: Tensor,
    eps: float,
) -> Outputs:
    """The chains of ReLU(x), each normalised and times its scale, added for each edge.

    x: [B, C, H, W]; the `chains` are those of the plan; scales: [chains], in its order `last`.
    Added are the maps `others` [others, B, C, H', W'] times factors [others, edges]. Norms have no
    parameters, and take the statistics of the batch. Twice differentiable.
    """
    blocks = plan.blocks(chains)
    weights = [block.kernel for block in blocks] + [block.pointwise for block in blocks]
    *edges, mean, inverse_std = _Separable.apply(plan, eps, x, scales, others, factors, *weights)
    return Outputs(tuple(edges), mean, inverse_std)


class _Separable(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        plan: Plan,
        eps: float,
        x: Tensor,
        scales: Tensor,
        others: Tensor,
        factors: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, ...]:
        from dots.networks.kernels.triton import programs

        slots, rows = len(plan.places), as_rows(x)
        kernels = torch.cat([weight.flatten() for weight in weights[:slots]])
        pointwise = torch.cat([weight.flatten() for weight in weights[slots:]])
        images, channels = x.shape[:2]
        sizes = Sizes.of(x.shape, plan.stride)
        positions, tiles = sizes.positions, sizes.tiles(sizes.positions)
        maps = x.new_empty(slots, positions, channels)
        mean, inverse_std = x.new_empty(2, slots, channels)
        sums, squares = x.new_empty(2, slots, tiles, channels)
        shape = sizes.shape
        inner = (maps, mean, inverse_std, kernels, pointwise, plan.table, maps, sums, squares)
        steps = [(0, plan.first, False, (rows, *inner[1:]), sizes)]
        if plan.double:
            steps.append((plan.first, plan.double, True, inner, sizes.inner))
        for first, count, normed, tensors, own in steps:
            programs.forward[tiles, count](
                *tensors, first, positions, *own.plane,
                STRIDE=own.stride, NORMED=normed, P=sizes.tile, **shape,
            )  # fmt: skip
            programs.finish_moments[count, 1](
                sums, squares, mean, inverse_std, mean, mean, 0.0, eps,
                first, positions, tiles, sizes.tile, RUNNING=False, **sizes.finish,
            )  # fmt: skip
        out = x.new_empty(len(plan.edges), positions, channels)
        programs.mix[tiles, len(plan.edges)](
            maps, mean, inverse_std, scales, plan.table, _in_rows(others), factors, out,
            plan.double, slots, len(others), positions,
            P=sizes.tile, **shape,
        )  # fmt: skip
        ctx.plan, ctx.eps, ctx.sizes = plan, eps, sizes
        ctx.save_for_backward(x, scales, others, factors, *weights, maps, mean, inverse_std)
        ctx.mark_non_differentiable(mean, inverse_std)
        edges = out.view(-1, images, *sizes.plane[2:], channels).permute(0, 1, 4, 2, 3)
        return *edges.unbind(), mean, inverse_std

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        plan, saved = ctx.plan, ctx.saved_tensors
        given = gradients[: len(plan.edges)]
        if torch.is_grad_enabled():
            inputs, needed = saved[:-3], ctx.needs_input_grad[2:]
            return None, None, *_differentiable(plan, ctx.eps, given, inputs, needed)
        return None, None, *_gradients(ctx, plan, ctx.sizes, saved, given)


def _gradients(
    ctx: Any, plan: Plan, sizes: Sizes, saved: Sequence[Tensor], given: Sequence[Tensor]
) -> list[Tensor | None]:
    """Of x, scales and weights."""
    from dots.networks.kernels.triton import programs

    x, scales, others, factors, *weights, maps, mean, inverse_std = saved
    slots, channels = len(plan.places), sizes.channels
    positions, tiles = sizes.positions, sizes.tiles(sizes.positions)
    with_weights = any(ctx.needs_input_grad[6:])
    kernels = torch.cat([weight.flatten() for weight in weights[:slots]])
    pointwise = torch.cat([weight.flatten() for weight in weights[slots:]])
    shape = sizes.shape
    # First the gradients of normalised maps that blocks read, then those of edges.
    by_normed = x.new_empty(plan.double + len(plan.edges), positions, channels)
    torch.stack([as_rows(one).view(-1, channels) for one in given], out=by_normed[plan.double :])
    sums, products = x.new_empty(2, slots, tiles, channels)
    factor, slope, offset = x.new_empty(3, slots, channels)
    by_scales = torch.empty_like(scales)
    by_features = x.new_empty(plan.first, positions, channels)
    parts = min(tiles, sizes.tile)
    by_pointwise = x.new_empty(slots, parts if with_weights else 0, channels, channels)

    def finish(first: int, count: int, scaled: str) -> None:
        programs.finish_gradients[count, 1](
            sums, products, mean, inverse_std, scales, factor, slope, offset, by_scales, by_scales,
            first, positions, tiles, SCALED=scaled, **sizes.finish,
        )  # fmt: skip

    def through_pointwise(first: int, count: int, source: Tensor, normed: bool) -> None:
        own = sizes.inner if normed else sizes
        programs.pointwise_backward[parts, count](
            by_normed, maps, factor, slope, offset, source, mean, inverse_std,
            kernels, pointwise, plan.table, by_features, by_pointwise,
            first, first, positions, tiles, *own.plane,
            STRIDE=own.stride, NORMED=normed, WEIGHTS=with_weights, P=sizes.tile, **shape,
        )  # fmt: skip

    def through_depthwise(
        first: int, count: int, source: Tensor, normed: bool, out: Tensor
    ) -> Tensor:
        own = sizes.inner if normed else sizes
        origin, end = plan.numbers[first], plan.numbers[first + count]
        over = own.tiles(own.inputs)
        by_kernels = x.new_empty(over if with_weights else 0, end - origin)
        programs.depthwise_backward[over, len(out)](
            by_features, source, mean, inverse_std, kernels, plan.table,
            out, by_kernels, sums, products,
            first, first + count, first, -(-count // len(out)), positions, own.inputs,
            origin, end - origin, *own.plane,
            STRIDE=own.stride, NORMED=normed, WEIGHTS=with_weights, P=sizes.tile, **shape,
        )  # fmt: skip
        return by_kernels.sum(0)

    last = slots - plan.double
    programs.gradient_sums[tiles, last](
        by_normed, maps, mean, plan.table, sums, products, plan.double, positions, 1,
        TABLE=True, P=sizes.tile, **shape,
    )  # fmt: skip
    finish(plan.double, last, scaled="maps")
    by_edges, rows = by_normed[plan.double :], _in_rows(others)
    by_others = torch.empty_like(rows)
    by_factors = x.new_empty(*factors.shape, tiles)
    if len(others):
        programs.mix_backward[tiles, len(others)](
            by_edges, rows, factors, by_others, by_factors, len(by_edges), positions,
            P=sizes.tile, **shape,
        )  # fmt: skip
    by_kernels = []
    if plan.double:
        through_pointwise(plan.first, plan.double, maps, normed=True)
        out = by_normed[: plan.double]
        by_kernels = [through_depthwise(plan.first, plan.double, maps, True, out)]
        finish(0, plan.double, scaled="no")
    rows = as_rows(x)
    through_pointwise(0, plan.first, rows, normed=False)
    chunks = min(plan.first, max(1, PROGRAMS // sizes.tiles(sizes.inputs)))
    chunks = -(-plan.first // -(-plan.first // chunks))
    by_x = x.new_empty(chunks, *rows.shape)
    by_kernels.insert(0, through_depthwise(0, plan.first, rows, False, by_x))
    by_x = by_x[0] if chunks == 1 else by_x.sum(0)
    found: list[Tensor | None] = [by_x.view(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2)]
    by_others = by_others.view(len(others), len(x), *others.shape[3:], channels)
    found += [by_scales, by_others.permute(0, 1, 4, 2, 3), by_factors.sum(2)]
    if not with_weights:
        return found + [None] * len(weights)
    lengths = [weight.numel() for weight in weights[:slots]]
    flat = torch.split(torch.cat(by_kernels), lengths)
    pairs = zip((*flat, *by_pointwise.sum(1)), weights, strict=True)
    return found + [gradient.view_as(weight) for gradient, weight in pairs]


def _differentiable(
    plan: Plan,
    eps: float,
    gradients: Sequence[Tensor],
    inputs: Sequence[Tensor],
    needed: Sequence[bool],
) -> list[Tensor | None]:
    """The gradients by automatic differentiation of stock modules, to be differentiated."""
    x, scales, others, factors, *weights = inputs
    slots = len(plan.places)
    maps: list[Tensor] = []
    for slot, (kernel, pointwise) in enumerate(zip(weights[:slots], weights[slots:], strict=True)):
        read = x if slot < plan.first else maps[slot - plan.first]
        y = Block(kernel, pointwise, *plan.steps[slot])(F.relu(read))
        maps.append(F.batch_norm(y, None, None, None, None, True, 0.0, eps))
    edges = [(column.view(-1, 1, 1, 1, 1) * others).sum(0) for column in factors.unbind(1)]
    for owner, scale, y in zip(plan.owners, scales, maps[plan.double :], strict=True):
        edges[owner] = edges[owner] + scale * y
    return differentiable_gradients(
        torch.stack(edges), torch.stack(list(gradients)), inputs, needed
    )


def _in_rows(maps: Tensor) -> Tensor:
    """[maps, B, C, H, W] -> [maps, positions, C], contiguous."""
    return maps.permute(0, 1, 3, 4, 2).flatten(1, 3).contiguous()
