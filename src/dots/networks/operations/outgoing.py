"""All operations on the edges that leave a node, in a few large calls: for GPUs.

There a small kernel takes as long as one that is several times larger: batch norm gives a
channel one of a hundred multiprocessors, and each kernel has to be launched. The edges that
leave a node read the same map. So programs in Triton take their separable and dilated
convolutions at once (`kernels.triton.separable`). Where those do not serve, the depthwise
convolutions of one kernel size are one with a channel multiplier, the 1×1 convolutions of all
are one batched product, all batch norms are one over all channels, and mixing weights are its
scale. Weights stay where they are, in the modules, and are put together in each step. Values,
gradients and running statistics are those of the modules up to rounding.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dots.common.devices import runs_triton
from dots.networks.kernels.node_sum import convolve_pixels
from dots.networks.kernels.triton.separable import Chain, Plan, separable, serves
from dots.networks.operations.candidates import (
    DepthwiseBlock,
    DilConv,
    FactorizedReduce,
    Identity,
    Pool,
    SepConv,
)
from dots.networks.operations.source import Parts, Source, complete

Kind = TypeVar("Kind", bound=nn.Module)


class Running(NamedTuple):
    """An operation that runs on an edge, and its mixing weight, 0-d."""

    edge: int
    operation: nn.Module
    scale: Tensor


class Mixed(NamedTuple):
    """What some edges hold, [B, edges, C, H, W]: each the sum of some of its operations."""

    edges: tuple[int, ...]
    value: Tensor


def joins(x: Tensor) -> bool:
    """Whether operations on such maps are to be taken together: on a GPU, but not in bfloat16.

    There, and where maps are wider than Triton's programs take, maps are channels-last, which
    the stock depthwise kernels here do not know.
    """
    if x.device.type != "cuda" or torch.is_autocast_enabled("cuda"):
        return False
    return serves(x) or not runs_triton(x.device)


Plans = dict[Hashable, Plan]
"""Those made so far, by what they order."""


def outgoing(source: Source, running: Sequence[Running], plans: Plans) -> list[Mixed]:
    """The outputs of operations on edges that leave `source`, weighted, and added where alike.

    Their batch norms are in training mode, and without parameters. New `plans` are added to it.
    """
    seen: list[_Statistics] = []
    others = [*_pools(source, _of(Pool, running), seen), *_identities(source, running)]
    if serves(source.x) and any(_steps(each.operation) for each in running):
        mixed = _programs(source, running, others, seen, plans)
    else:
        mixed = [*_convolutions(source, running, seen), *(_spread(*each) for each in others)]
    mixed += _reductions(source, _of(FactorizedReduce, running), seen)
    for edge, operation, scale in running:
        if not isinstance(operation, SepConv | DilConv | FactorizedReduce | Pool | Identity):
            parts: Parts = operation(source)
            mixed.append(Mixed((edge,), (complete(parts, fast=False) * scale)[:, None]))
    _record(seen)
    return _added(mixed)


def _of(kind: type[Kind], running: Iterable[Running]) -> list[tuple[Running, Kind]]:
    return [(each, each.operation) for each in running if isinstance(each.operation, kind)]


def _programs(
    source: Source,
    running: Sequence[Running],
    others: Sequence[tuple[Tensor, Sequence[Running]]],
    seen: list[_Statistics],
    plans: Plans,
) -> list[Mixed]:
    """The separable and the dilated ones, and maps of others, by programs in Triton."""
    steps = [(each, _steps(each.operation)) for each in running if _steps(each.operation)]
    chains = [Chain(each.edge, tuple(step.as_block() for step in chain)) for each, chain in steps]
    shapes = tuple((each.edge, *map(_shape, chain)) for each, chain in steps)
    edges = tuple(
        dict.fromkeys(
            each.edge
            for group in ([each for each, _ in steps], *(own for _, own in others))
            for each in group
        )
    )
    key = source.x.device, shapes, edges
    plan = plans.get(key) or plans.setdefault(key, Plan(chains, edges, source.x.device))
    norms = [steps[index][1][place].norm for index, place in plan.places]
    scales = torch.stack([steps[index][0].scale for index in plan.last])
    zero = torch.zeros_like(scales[0])
    rows = [{each.edge: each.scale for each in own} for _, own in others]
    factors = [row.get(edge, zero) for row in rows for edge in edges]
    found = separable(
        plan,
        source.x,
        chains,
        scales,
        torch.stack([x for x, _ in others]) if others else source.x.new_empty(0, *source.x.shape),
        torch.stack(factors).view(-1, len(edges)) if others else scales.new_empty(0, len(edges)),
        norms[0].eps,
    )
    positions = found.edges[0].numel() // found.edges[0].shape[1]
    seen.append(_Statistics(norms, found.mean.flatten(), found.inverse_std.flatten(), positions))
    return [Mixed((e,), x[:, None]) for e, x in zip(plan.edges, found.edges, strict=True)]


def _steps(operation: nn.Module) -> tuple[DepthwiseBlock, ...]:
    if isinstance(operation, SepConv):
        return operation.first, operation.second
    return (operation.block,) if isinstance(operation, DilConv) else ()


def _convolutions(
    source: Source, running: Sequence[Running], seen: list[_Statistics]
) -> list[Mixed]:
    """The separable and the dilated ones, which end in the same steps."""
    separable = sorted(_of(SepConv, running), key=lambda pair: _shape(pair[1].first))
    dilated = sorted(_of(DilConv, running), key=lambda pair: _shape(pair[1].block))
    maps = []
    if separable:
        first = [operation.first for _, operation in separable]
        z = torch.cat(_shared_depthwise(source.relu, first), dim=1)
        norms = [block.norm for block in first]
        y = _normed(_pointwise(z, first), norms, None, seen)
        maps += _own_depthwise(y, [operation.second for _, operation in separable])
    if dilated:
        maps += _shared_depthwise(source.relu, [operation.block for _, operation in dilated])
    if not maps:
        return []
    last = [op.second for _, op in separable] + [op.block for _, op in dilated]
    chosen = [each for each, _ in separable] + [each for each, _ in dilated]
    features = _pointwise(torch.cat(maps, dim=1), last)
    return _weighted(features, [block.norm for block in last], chosen, seen)


def _reductions(
    source: Source, pairs: list[tuple[Running, FactorizedReduce]], seen: list[_Statistics]
) -> list[Mixed]:
    """Factorised reductions of ReLU(x)."""
    if not pairs:
        return []
    halves = []
    for name, half in zip(("even", "odd"), source.halves, strict=True):
        weights = [getattr(operation, name).weight for _, operation in pairs]
        halves.append(
            torch.unflatten(convolve_pixels(half, torch.cat(weights)), 1, (len(pairs), -1))
        )
    norms = [operation.norm for _, operation in pairs]
    return _weighted(torch.cat(halves, dim=2), norms, [each for each, _ in pairs], seen)


def _pools(
    source: Source, pairs: list[tuple[Running, Pool]], seen: list[_Statistics]
) -> list[tuple[Tensor, list[Running]]]:
    """A pooled map, and its normalised one, is the same on all edges."""
    maps = []
    for kind, group in groupby(sorted(pairs, key=_pool_kind), key=_pool_kind):
        alike = list(group)
        x = source.pooled(kind, alike[0][1].stride)
        norms = [pool.norm for _, pool in alike if pool.norm is not None]
        if norms:
            x = _normed(x[:, None], norms[:1], None, seen)[:, 0]
            seen[-1] = seen[-1]._replace(norms=norms)
        maps.append((x, [each for each, _ in alike]))
    return maps


def _pool_kind(pair: tuple[Running, Pool]) -> str:
    return pair[1].kind


def _identities(source: Source, running: Sequence[Running]) -> list[tuple[Tensor, list[Running]]]:
    pairs = _of(Identity, running)
    plain = [each for each, operation in pairs if type(operation) is Identity]
    maps = [(source.x, plain)] if plain else []
    for each, operation in pairs:
        if type(operation) is not Identity:  # of a method: with dropout
            maps.append((operation(source).features, [each]))
    return maps


def _spread(x: Tensor, running: Sequence[Running]) -> Mixed:
    """One map [B, C, H, W] on several edges, each with its weight."""
    scales = torch.stack([each.scale for each in running]).view(-1, 1, 1, 1)
    return Mixed(tuple(each.edge for each in running), x[:, None] * scales)


def _shape(block: DepthwiseBlock) -> tuple[int, int, int]:
    conv = block.depthwise
    return conv.kernel_size[0], conv.dilation[0], conv.stride[0]


def _alike(blocks: Sequence[DepthwiseBlock]) -> list[list[DepthwiseBlock]]:
    return [list(group) for _, group in groupby(blocks, key=_shape)]


def _shared_depthwise(x: Tensor, blocks: Sequence[DepthwiseBlock]) -> list[Tensor]:
    """The depthwise convolutions of one map [B, C, H, W]: [B, blocks, C, H', W'], in parts."""
    parts = []
    for group in _alike(blocks):
        conv, channels = group[0].depthwise, x.shape[1]
        kernels = _InOnePiece.apply(torch.stack([block.depthwise.weight for block in group]))
        kernels = kernels.transpose(0, 1).flatten(0, 1)
        z = F.conv2d(x, kernels, None, conv.stride, conv.padding, conv.dilation, channels)
        parts.append(torch.unflatten(z, 1, (channels, len(group))).transpose(1, 2))
    return parts


class _InOnePiece(torch.autograd.Function):
    """A tensor whose gradient is contiguous, and so are its parts: else each would be copied."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].contiguous()


def _own_depthwise(y: Tensor, blocks: Sequence[DepthwiseBlock]) -> list[Tensor]:
    """ReLU and depthwise convolutions of a map each, [B, blocks, C, H, W], in parts."""
    parts, groups = [], _alike(blocks)
    for z, group in zip(torch.split(y, list(map(len, groups)), 1), groups, strict=True):
        conv, rectified = group[0].depthwise, F.relu(z).flatten(1, 2)
        kernels = torch.cat([block.depthwise.weight for block in group])
        z = F.conv2d(
            rectified, kernels, None, conv.stride, conv.padding, conv.dilation, len(kernels)
        )
        parts.append(torch.unflatten(z, 1, (len(group), -1)))
    return parts


def _pointwise(z: Tensor, blocks: Sequence[DepthwiseBlock]) -> Tensor:
    """The 1×1 convolutions of a map each, [B, blocks, C, H, W], as products of matrices.

    As a convolution in groups they take nine times as long: cuDNN turns the maps before and after.
    """
    kernels = torch.stack([block.pointwise.weight.flatten(1) for block in blocks])
    return torch.unflatten(torch.matmul(kernels, z.flatten(3)), 3, z.shape[3:])


def _weighted(
    features: Tensor,
    norms: Sequence[nn.BatchNorm2d],
    running: Sequence[Running],
    seen: list[_Statistics],
) -> list[Mixed]:
    """Normalised features [B, operations, C, H, W], weighted, and added for each edge."""
    scales = torch.stack([each.scale for each in running])
    y, edges = _normed(features, norms, scales, seen), tuple(each.edge for each in running)
    once = tuple(dict.fromkeys(edges))
    if edges == once * (len(edges) // len(once)):  # the same edges, again and again
        return [Mixed(once, torch.unflatten(y, 1, (-1, len(once))).sum(1))]
    return [Mixed((edge,), part[:, None]) for edge, part in zip(edges, y.unbind(1), strict=True)]


class _Statistics(NamedTuple):
    """What batch norms have seen: moments [C] as of `native_batch_norm`, of `positions` values.

    Of the channels of one norm after the other; or of one for all of them.
    """

    norms: Sequence[nn.BatchNorm2d]
    mean: Tensor
    inverse_std: Tensor
    positions: int


def _normed(
    x: Tensor,
    norms: Sequence[nn.BatchNorm2d],
    scales: Tensor | None,
    seen: list[_Statistics],
) -> Tensor:
    """Each of the maps [B, norms, C, H, W] normalised, times its scale, of `scales` [norms]."""
    maps, channels = x.shape[1:3]
    positions = x.numel() // (maps * channels)
    if positions == 1:  # as the module
        raise ValueError("a batch norm in training needs more than one value a channel")
    weight = bias = None
    if scales is not None:
        weight = scales[:, None].expand(maps, channels).flatten()
        bias = torch.zeros_like(weight)
    y, mean, inverse_std = torch.native_batch_norm(
        x.flatten(1, 2), weight, bias, None, None, True, 0.0, norms[0].eps
    )
    seen.append(_Statistics(norms, mean, inverse_std, positions))
    return torch.unflatten(y, 1, (maps, channels))


@torch.no_grad()
def _record(seen: Sequence[_Statistics]) -> None:
    """Let all norms keep their running statistics, in a few calls: they have seen maps alike."""
    if not seen:
        return
    positions, eps = seen[0].positions, seen[0].norms[0].eps
    inverse_std = torch.cat([each.inverse_std for each in seen])
    variances = (inverse_std**-2 - eps) * (positions / (positions - 1))
    rows: dict[float, tuple[list[Tensor], list[Tensor]]] = {}
    """By momentum: running statistics, and what they move towards."""
    counts: list[Tensor] = []
    sizes = [len(each.mean) for each in seen]
    for each, variance in zip(seen, torch.split(variances, sizes), strict=True):
        channels = each.norms[0].num_features
        moments = list(
            zip(torch.split(each.mean, channels), torch.split(variance, channels), strict=True)
        )
        for place, norm in enumerate(each.norms):
            kept, new = rows.setdefault(norm.momentum or 0.0, ([], []))
            if norm.track_running_stats and norm.running_mean is not None:
                assert norm.running_var is not None
                assert norm.num_batches_tracked is not None
                kept += [norm.running_mean, norm.running_var]
                new += moments[place % len(moments)]
                counts.append(norm.num_batches_tracked)
    for momentum, (kept, new) in rows.items():
        if kept:
            alike = [value.to(before.dtype) for value, before in zip(new, kept, strict=True)]
            torch._foreach_lerp_(kept, alike, momentum)
    if counts:
        torch._foreach_add_(counts, 1)


def _added(mixed: Sequence[Mixed]) -> list[Mixed]:
    """Those of the same edges as one."""
    sums: dict[tuple[int, ...], Tensor] = {}
    for edges, value in mixed:
        sums[edges] = sums[edges] + value if edges in sums else value
    return [Mixed(edges, value) for edges, value in sums.items()]
