"""MergeNAS (Wang et al., IJCAI 2020): the convolutions of an edge merged into one kernel.

No release exists, and the publication leaves much open. What is known: the kernel of the
merged convolution is the average of the candidates' kernels, embedded in the largest of
them and weighted by α; depthwise and pointwise weights are reused. The choices made here
stand in the docstrings of `MergedConvolution` and `MergeNas`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from dots.common.errors import UserError
from dots.nas.relaxation import softmax
from dots.nas.strategies.base import GradientSearch, MethodSettings, Mixtures, Phase
from dots.nas.strategies.darts import Darts
from dots.networks.kernels.depthwise import depthwise
from dots.networks.kernels.node_sum import Term
from dots.networks.operations.source import Parts, Source
from dots.networks.supernet import EdgePlan, MixedEdge, Mixture, Supernet
from dots.recipe.settings import OperationSettings
from dots.space.search_space import SearchSpace

Pointwise = Literal["shared", "averaged"]


class MergeNasSettings(MethodSettings):
    """MergeNAS' own settings."""

    pointwise: Pointwise = Field(
        default="shared",
        description="1×1 convolution of the merged one: one for all, or the average of one each",
    )


class Footprint(NamedTuple):
    """The taps of a convolution: `kernel` × `kernel`, `dilation` apart; full or depthwise."""

    kernel: int
    dilation: int
    full: bool

    @property
    def extent(self) -> int:
        """The side of the square that it reads."""
        return (self.kernel - 1) * self.dilation + 1


def footprint(operation: str) -> Footprint:
    """The footprint of a convolution by its name: {sep,dil,nor}_conv_{k}x{k}."""
    match = re.fullmatch(r"(sep|dil|nor)_conv_(\d+)x\2", operation)
    if match is None:
        raise UserError(f"the operation {operation!r} cannot be merged with convolutions")
    family, kernel = match.groups()
    return Footprint(int(kernel), 2 if family == "dil" else 1, family == "nor")


class MergedConvolution(nn.Module):
    """Several convolutions as one: norm(P̄(D̄(relu(x)))).

    D̄ = Σ â_k D_k, each kernel embedded in the centre of the largest (9×9 where dil_conv_5x5
    is among them), â the weights renormalised over these convolutions. A separable
    convolution counts with its first half alone: the second has no counterpart in a dilated
    one. The 1×1 convolution P̄ is shared, so that P(D̄(x)) is exactly Σ â_k P(D_k(x)); or it
    is Σ â_k P_k, which adds cross terms. Full convolutions (nor_conv) need none.
    """

    def __init__(
        self, operations: Sequence[str], channels: int, stride: int, pointwise: Pointwise
    ) -> None:
        super().__init__()
        self.footprints = tuple(footprint(name) for name in operations)
        self.stride = stride
        self.extent = max(each.extent for each in self.footprints)
        self.full = self.footprints[0].full
        depth = channels if self.full else 1
        self.kernels = _kernels(
            (channels, depth, each.kernel, each.kernel) for each in self.footprints
        )
        count = 0 if self.full else len(operations) if pointwise == "averaged" else 1
        self.pointwise = _kernels((channels, channels, 1, 1) for _ in range(count))
        self.norm = nn.BatchNorm2d(channels, affine=False)

    def forward(self, source: Source, shares: Sequence[Tensor | None]) -> Parts:
        """`shares` are â, one for each convolution; None: it takes no part."""
        x, kernel, padding = source.relu, self.merged_kernel(shares), self.extent // 2
        if self.full:
            return Parts(F.conv2d(x, kernel, None, self.stride, padding), None, self.norm)
        if source.fast:
            features = depthwise(x, kernel, stride=self.stride, padding=padding, dilation=1)
        else:
            features = F.conv2d(x, kernel, None, self.stride, padding, groups=x.shape[1])
        return Parts(features, self.merged_pointwise(shares), self.norm)

    def merged_kernel(self, shares: Sequence[Tensor | None]) -> Tensor:
        """D̄, [C, 1 or C, extent, extent]."""
        first: Tensor = self.kernels[0]
        merged = first.new_zeros(*first.shape[:2], self.extent, self.extent)
        for kernel, each, share in zip(self.kernels, self.footprints, shares, strict=True):
            if share is not None:
                margin = (self.extent - each.extent) // 2
                taps = slice(margin, margin + each.extent, each.dilation)
                merged[:, :, taps, taps] += share * kernel
        return merged

    def merged_pointwise(self, shares: Sequence[Tensor | None]) -> Tensor:
        """P̄, [C, C, 1, 1]."""
        if len(self.pointwise) == 1:
            only: Tensor = self.pointwise[0]
            return only
        pairs = zip(self.pointwise, shares, strict=True)
        return torch.stack([share * each for each, share in pairs if share is not None]).sum(0)


def _kernels(shapes: Iterable[tuple[int, int, int, int]]) -> nn.ParameterList:
    """Weights as nn.Conv2d draws them."""
    kernels = nn.ParameterList(torch.empty(shape) for shape in shapes)
    for kernel in kernels:
        nn.init.kaiming_uniform_(kernel, a=5**0.5)
    return kernels


class MergedEdge(nn.Module):
    """A mixed edge whose convolutions are one; the other operations are as in any.

    The weight outside is the convolutions' sum: the batch norm takes away the scale of what
    is inside.
    """

    def __init__(self, plan: EdgePlan, mergeable: Sequence[str], pointwise: Pointwise) -> None:
        super().__init__()
        places = range(len(plan.operations))
        self.merged_places = tuple(i for i in places if plan.operations[i] in mergeable)
        self.other_places = tuple(i for i in places if plan.operations[i] not in mergeable)
        others = tuple(plan.operations[i] for i in self.other_places)
        convolutions = tuple(plan.operations[i] for i in self.merged_places)
        self.others = MixedEdge(replace(plan, operations=others))
        self.merged = MergedConvolution(convolutions, plan.channels, plan.stride, pointwise)

    def forward(
        self,
        source: Source,
        weights: Sequence[Tensor],
        edge_weight: Tensor | None,
        active: Sequence[bool],
    ) -> list[Term]:
        """As MixedEdge's; an inactive convolution is left out of the kernel."""
        terms: list[Term] = self.others(
            source,
            [weights[i] for i in self.other_places],
            edge_weight,
            [active[i] for i in self.other_places],
        )
        inside = [weights[i] if active[i] else None for i in self.merged_places]
        running = [weight for weight in inside if weight is not None]
        if not running:
            return terms
        total = torch.stack(running).sum()
        shares = [None if weight is None else weight / total for weight in inside]
        scale = total if edge_weight is None else total * edge_weight
        return [*terms, self.merged(source, shares).weighted(scale)]


class MergeNas(GradientSearch):
    """First-order DARTS on edges whose convolutions are merged; a softmax over all operations.

    α learns through the average of the kernels and through the weight outside it.
    """

    name: ClassVar[str] = "merge-nas"
    Settings: ClassVar[type[MethodSettings]] = MergeNasSettings
    published: ClassVar[Mapping[str, object]] = Darts.published
    method: MergeNasSettings

    @classmethod
    def check(cls, space: SearchSpace, settings: OperationSettings, method: MethodSettings) -> None:
        if len(space.mergeable) < 2:
            found = ", ".join(space.mergeable) or "none"
            raise UserError(
                f"the strategy {cls.name!r} merges the convolutions of an edge, and the search "
                f"space {space.name!r} has no two to merge ({found}): choose 'darts' or "
                "'nasbench201'"
            )

    def build_supernet(self) -> Supernet:
        mergeable, pointwise = self.context.space.mergeable, self.method.pointwise
        return self.context.supernet(make_edge=lambda plan: MergedEdge(plan, mergeable, pointwise))

    def mixtures(self, phase: Phase) -> Mixtures:
        return {kind: Mixture(softmax(alpha)) for kind, alpha in self.alpha.items()}
