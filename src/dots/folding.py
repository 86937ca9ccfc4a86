"""A node as one sum of matrix products: batch norms of 1×1 convolutions without their outputs.

A candidate operation ends in weight · norm(P z): a 1×1 convolution P of some features z, batch
norm, and the operation's mixing weight. Over a batch, the mean and the variance of P z are linear
algebra of the moments of z, which are a small vector and a small matrix:

    mean(P z) = P mean(z),    var(P z) = diag(P cov(z) Pᵀ).

With them the batch norm is an affine map of z, and so is its product with the mixing weight. A
node, the sum over its incoming edges and their operations (Eqs. 1 and 3), therefore is

    x_j = bias + Σ_t M_t z_t,    M_t = weight_t · scale_t / std_t · P_t,

one matrix product per operation, accumulated into one buffer. Outputs of 1×1 convolutions, batch
norms and products are never formed, neither forward nor backward; the gradients of mixing
weights, of P, and of a norm's scale and shift come from matrices of the size of P by automatic
differentiation. Values are the stock modules' up to rounding, running statistics included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dots.moments import accumulate
from dots.statistics import (
    batch_statistics,
    fixed_statistics,
    scales_and_shifts,
    takes_batch,
    update_running,
)

WIDEST = 64
"""Channels up to which folding is faster. It trades passes over memory, whose cost grows with
the channels, for products, whose cost grows with their square."""


class Term(NamedTuple):
    """One summand of a node: weight · norm(conv1x1(features, pointwise)).

    features: [B, Cin, H, W]; weight: 0-d, or [B, 1, 1, 1] (which gets no gradient), or None
    (one); pointwise: [Cout, Cin, 1, 1] or None (identity); norm: a batch norm over the Cout
    channels or None (identity).
    """

    features: Tensor
    weight: Tensor | None
    pointwise: Tensor | None
    norm: nn.BatchNorm2d | None


def combine(terms: Sequence[Term], fast: bool) -> Tensor:
    """The sum of the terms, [B, Cout, H, W], channels-last where it was computed fast.

    With `fast` false, or where folding does not apply (other devices and data types, autocast,
    synchronised or otherwise special norms), the stock modules run one by one. Raises
    ValueError where there is no term and, as the stock modules do, where a norm in training
    mode sees a single value per channel.
    """
    if not terms:
        raise ValueError("combine needs at least one term")
    if fast and all(foldable(term.features, term.norm) for term in terms):
        return _as_map(_folded_sum(terms), terms[0].features)
    values = [_plain(term) for term in terms]
    return sum(values[1:], values[0])


def normed_pointwise(
    x: Tensor, pointwise: Tensor, norm: nn.BatchNorm2d, *, relu: bool, fast: bool
) -> Tensor:
    """norm(conv1x1(x, pointwise)), then ReLU where `relu`: [B, Cin, H, W] -> [B, Cout, H, W]."""
    term = Term(x, None, pointwise, norm)
    if not fast or not foldable(x, norm):
        value = _plain(term)
        return F.relu(value) if relu else value
    rows = _folded_sum([term])
    return _as_map(F.relu_(rows) if relu else rows, x)


def _plain(term: Term) -> Tensor:
    """The term with the stock modules."""
    value = term.features if term.pointwise is None else F.conv2d(term.features, term.pointwise)
    if term.norm is not None:
        value = term.norm(value)
    return value if term.weight is None else term.weight * value


def foldable(x: Tensor, norm: nn.BatchNorm2d | None) -> bool:
    """Whether a term of these features and norm can be folded."""
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and x.shape[0] * x.shape[2] * x.shape[3] > 1
        and (norm is None or type(norm) is nn.BatchNorm2d)
    )


class Normalised(NamedTuple):
    """A map [B, C, H, W] of zero mean and unit variance, and what it was before, [C] each."""

    features: Tensor
    mean: Tensor
    variance: Tensor

    def update(self, norm: nn.BatchNorm2d) -> None:
        """Let `norm` keep running statistics as if it had normalised the map."""
        count = self.features.numel() // self.features.shape[1]
        update_running(norm, self.mean, self.variance, count)


def normalised(x: Tensor, eps: float) -> Normalised:
    """Normalise a foldable map once, for all who would do so with norms without parameters."""
    (rows,), mean, variance = batch_statistics([_as_rows(x)], None, eps)
    slope = torch.rsqrt(variance[0] + eps)
    total = accumulate((-slope * mean[0]).to(x.dtype), [], [(rows, slope.to(x.dtype))])
    return Normalised(_as_map(total, x), mean[0].detach(), variance[0].detach())


def _as_rows(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H·W, C]: a view where x is channels-last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2).contiguous()


def _as_map(rows: Tensor, like: Tensor) -> Tensor:
    """Undo `_as_rows`: a map of the height and width of `like`."""
    return rows.view(len(rows), *like.shape[2:], -1).permute(0, 3, 1, 2)


def _folded_sum(terms: Sequence[Term]) -> Tensor:
    """The sum of the terms: rows as of `_as_rows`."""
    scaled: list[tuple[Tensor, Tensor | None]] = []
    mapped: list[tuple[Tensor, Tensor]] = []
    groups: dict[tuple[bool, int, bool, float], list[Term]] = {}
    for term in map(_in_rows, terms):
        rows, weight, pointwise, norm = term
        if norm is None and pointwise is None:
            scaled.append((rows, weight))
        elif weight is not None and weight.dim() > 0:
            scaled.append((_affine_sum([term._replace(weight=None)]), weight))
        else:
            eps = 0.0 if norm is None else norm.eps
            key = (pointwise is not None, rows.shape[2], takes_batch(norm), eps)
            groups.setdefault(key, []).append(term)
    bias: Tensor | None = None
    for (has_pointwise, *_), alike in groups.items():
        part, maps, factors = _affine_maps(alike)
        bias = part if bias is None else bias + part
        (mapped if has_pointwise else scaled).extend(zip(maps, factors.unbind(), strict=True))
    return accumulate(bias, mapped, scaled)


def _affine_sum(terms: Sequence[Term]) -> Tensor:
    """The sum of terms as of `_in_rows`, alike in width and kind."""
    bias, maps, factors = _affine_maps(terms)
    pairs = list(zip(maps, factors.unbind(), strict=True))
    return accumulate(bias, *((pairs, []) if factors.dim() == 3 else ([], pairs)))


def _in_rows(term: Term) -> Term:
    """The term with features as of `_as_rows`, and a pointwise [Cout, Cin] worth folding."""
    rows, pointwise = _as_rows(term.features), term.pointwise
    if pointwise is not None:
        pointwise = pointwise.flatten(1)
        outputs, inputs = pointwise.shape
        if inputs > outputs or inputs > WIDEST:
            rows, pointwise = accumulate(None, [(rows, pointwise)], []), None
    weight = term.weight
    if weight is not None and weight.dim() > 0:
        weight = weight.flatten(2)
    return Term(rows, weight, pointwise, term.norm)


def _affine_maps(terms: Sequence[Term]) -> tuple[Tensor, Sequence[Tensor], Tensor]:
    """A bias [Cout], T maps, and T factors, matrices [Cout, Cin] or scales [Cout].

    The terms, as of `_in_rows`, are alike in width, in having a pointwise, and in whether their
    norms take the statistics of the batch.
    """
    maps: Sequence[Tensor] = [term.features for term in terms]
    norms = [term.norm for term in terms]
    pointwise = None
    if terms[0].pointwise is not None:
        pointwise = torch.stack([t.pointwise for t in terms if t.pointwise is not None])
    if takes_batch(norms[0]):
        maps, mean, slope = _in_training(maps, pointwise, [n for n in norms if n is not None])
    else:
        width = maps[0].shape[2] if pointwise is None else pointwise.shape[1]
        mean, slope = fixed_statistics(norms, maps[0].new_empty(len(terms), width))
    parameters = scales_and_shifts(norms, mean)
    if parameters is not None:
        slope = slope * parameters[0]
    bias = -slope * mean
    if parameters is not None:
        bias = bias + parameters[1]
    weights = [term.weight for term in terms]
    if any(weight is not None for weight in weights):
        one = maps[0].new_ones(())
        column = torch.stack([one if weight is None else weight for weight in weights])[:, None]
        slope, bias = column * slope, column * bias
    factors = slope if pointwise is None else slope[:, :, None] * pointwise
    dtype = maps[0].dtype
    return bias.sum(0).to(dtype), maps, factors.to(dtype)


def _in_training(
    maps: Sequence[Tensor], pointwise: Tensor | None, norms: Sequence[nn.BatchNorm2d]
) -> tuple[Sequence[Tensor], Tensor, Tensor]:
    """The maps to use from now on, and mean and 1/std; the norms have seen the batch."""
    maps, mean, variance = batch_statistics(maps, pointwise, norms[0].eps)
    count = maps[0].shape[0] * maps[0].shape[1]
    for norm, mu, var in zip(norms, mean.detach(), variance.detach(), strict=True):
        update_running(norm, mu, var, count)
    return maps, mean, torch.rsqrt(variance + norms[0].eps)
