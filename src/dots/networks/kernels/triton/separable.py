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
from dots.networks.kernels.products import as_map, as_rows, differentiable_gradients
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
        kernels, pointwise = _flat(weights)
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
        kept = maps, mean, inverse_std, kernels, pointwise
        ctx.save_for_backward(x, scales, others, factors, *weights, *kept)
        ctx.mark_non_differentiable(mean, inverse_std)
        edges = out.view(-1, images, *sizes.plane[2:], channels).permute(0, 1, 4, 2, 3)
        return *edges.unbind(), mean, inverse_std

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        plan, saved = ctx.plan, ctx.saved_tensors
        given = gradients[: len(plan.edges)]
        if torch.is_grad_enabled():
            inputs, needed = saved[:-5], ctx.needs_input_grad[2:]
            return None, None, *_differentiable(plan, ctx.eps, given, inputs, needed)
        backward = _Backward(plan, ctx.sizes, saved, given, any(ctx.needs_input_grad[6:]))
        return None, None, *backward.gradients()


class _Backward:
    """The gradients of x, scales, other maps, their factors and weights, and buffers for them."""

    def __init__(
        self,
        plan: Plan,
        sizes: Sizes,
        saved: Sequence[Tensor],
        gradients: Sequence[Tensor],
        with_weights: bool,
    ) -> None:
        from dots.networks.kernels.triton import programs

        self.programs = programs
        self.plan, self.sizes, self.with_weights = plan, sizes, with_weights
        x, self.scales, self.others, self.factors, *self.weights = saved[:-5]
        self.maps, self.mean, self.inverse_std, self.kernels, self.pointwise = saved[-5:]
        self.x = x
        slots, channels, tiles = len(plan.places), sizes.channels, sizes.tiles(sizes.positions)
        self.tiles, self.parts = tiles, min(tiles, sizes.tile)
        edges = len(plan.edges)
        # First the gradients of normalised maps that blocks read, then those of edges.
        self.by_normed = x.new_empty(plan.double + edges, sizes.positions, channels)
        self.by_edges = self.by_normed[plan.double :]
        torch.stack([as_rows(one).view(-1, channels) for one in gradients], out=self.by_edges)
        self.sums, self.products = x.new_empty(2, slots, tiles, channels)
        self.factor, self.slope, self.offset = x.new_empty(3, slots, channels)
        self.by_scales = torch.empty_like(self.scales)
        self.by_features = x.new_empty(plan.first, sizes.positions, channels)
        kept = self.parts if with_weights else 0
        self.by_pointwise = x.new_empty(slots, kept, channels, channels)

    def gradients(self) -> list[Tensor | None]:
        """From the edges back to x."""
        plan, rows = self.plan, as_rows(self.x)
        self._through_norms()
        by_others, by_factors = self._through_others()
        second = []
        if plan.double:
            self._through_pointwise(plan.first, plan.double, self.maps, normed=True)
            out = self.by_normed[: plan.double]
            second = [self._through_depthwise(plan.first, plan.double, self.maps, out)]
            self._finish(0, plan.double, scaled="no")
        self._through_pointwise(0, plan.first, rows, normed=False)
        by_x = self.x.new_empty(self._chunks(), *rows.shape)
        first = self._through_depthwise(0, plan.first, rows, by_x)
        total = by_x[0] if len(by_x) == 1 else by_x.sum(0)
        found: list[Tensor | None] = [as_map(total, self.x), self.by_scales, by_others, by_factors]
        if not self.with_weights:
            return found + [None] * len(self.weights)
        lengths = [weight.numel() for weight in self.weights[: len(plan.places)]]
        flat = torch.split(torch.cat([first, *second]), lengths)
        pairs = zip((*flat, *self.by_pointwise.sum(1)), self.weights, strict=True)
        return found + [gradient.view_as(weight) for gradient, weight in pairs]

    def _chunks(self) -> int:
        """Among how many programs the blocks that read x are shared out, for each tile."""
        first = self.plan.first
        most = max(1, PROGRAMS // self.sizes.tiles(self.sizes.inputs))
        return -(-first // -(-first // min(first, most)))

    def _finish(self, first: int, count: int, scaled: str) -> None:
        self.programs.finish_gradients[count, 1](
            self.sums, self.products, self.mean, self.inverse_std, self.scales,
            self.factor, self.slope, self.offset, self.by_scales, self.by_scales,
            first, self.sizes.positions, self.tiles, SCALED=scaled, **self.sizes.finish,
        )  # fmt: skip

    def _through_norms(self) -> None:
        """Of the last blocks."""
        double = self.plan.double
        last = len(self.plan.places) - double
        self.programs.gradient_sums[self.tiles, last](
            self.by_normed, self.maps, self.mean, self.plan.table, self.sums, self.products,
            double, self.sizes.positions, 1, TABLE=True, P=self.sizes.tile, **self.sizes.shape,
        )  # fmt: skip
        self._finish(double, last, scaled="maps")

    def _through_others(self) -> tuple[Tensor, Tensor]:
        """The gradients of the other maps and of their factors."""
        others, factors = _in_rows(self.others), self.factors
        by_others = torch.empty_like(others)
        by_factors = factors.new_empty(*factors.shape, self.tiles)
        if len(others):
            self.programs.mix_backward[self.tiles, len(others)](
                self.by_edges, others, factors, by_others, by_factors,
                len(self.by_edges), self.sizes.positions, P=self.sizes.tile, **self.sizes.shape,
            )  # fmt: skip
        sizes = self.others.shape
        maps = by_others.view(*sizes[:2], *sizes[3:], sizes[2]).permute(0, 1, 4, 2, 3)
        return maps, by_factors.sum(2)

    def _through_pointwise(self, first: int, count: int, source: Tensor, normed: bool) -> None:
        own = self.sizes.inner if normed else self.sizes
        self.programs.pointwise_backward[self.parts, count](
            self.by_normed, self.maps, self.factor, self.slope, self.offset,
            source, self.mean, self.inverse_std, self.kernels, self.pointwise, self.plan.table,
            self.by_features, self.by_pointwise,
            first, own.positions, self.tiles, *own.plane,
            STRIDE=own.stride, NORMED=normed, WEIGHTS=self.with_weights,
            P=own.tile, **own.shape,
        )  # fmt: skip

    def _through_depthwise(self, first: int, count: int, source: Tensor, out: Tensor) -> Tensor:
        """Fill `out`; the gradients of kernels, flat."""
        normed = first > 0
        own = self.sizes.inner if normed else self.sizes
        origin, end = self.plan.numbers[first], self.plan.numbers[first + count]
        tiles = own.tiles(own.inputs)
        by_kernels = out.new_empty(tiles if self.with_weights else 0, end - origin)
        self.programs.depthwise_backward[tiles, len(out)](
            self.by_features, source, self.mean, self.inverse_std, self.kernels, self.plan.table,
            out, by_kernels, self.sums, self.products,
            first, first + count, -(-count // len(out)), own.positions, own.inputs,
            origin, end - origin, *own.plane,
            STRIDE=own.stride, NORMED=normed, WEIGHTS=self.with_weights,
            P=own.tile, **own.shape,
        )  # fmt: skip
        return by_kernels.sum(0)


def _flat(weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Depthwise kernels, then 1×1 kernels, as many, one after the other."""
    half = len(weights) // 2
    kernels, pointwise = (
        torch.cat([weight.flatten() for weight in part])
        for part in (weights[:half], weights[half:])
    )
    return kernels, pointwise


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
