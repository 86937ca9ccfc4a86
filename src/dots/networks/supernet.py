"""The supernet: all candidates on all edges, mixed by weights from outside (Eqs. 1, 3, 8)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dots.common.errors import UserError
from dots.networks.body import Body, CellCall, CellPlan, Preprocess, Shape, make_fast, search_style
from dots.networks.kernels.node_sum import Term, combine
from dots.networks.operations.candidates import OperationStyle, Zero
from dots.networks.operations.outgoing import Plans, Running, joins, outgoing
from dots.networks.operations.registry import make_operation
from dots.networks.operations.source import Source
from dots.space.search_space import Candidates, Operation, SearchSpace

Active = tuple[tuple[bool, ...], ...]


@dataclass(frozen=True)
class Mixture:
    """How the cells of one kind mix, [edges, candidates] and [edges].

    `operations` weighs the candidates of each edge (columns beyond an edge's candidates are
    ignored), `edges` the edges (None: ones, which gives Eq. 3). `active` says which
    operations run; it is never inferred from a zero weight, since the output of an operation
    with a gate of zero may still be needed. None: all run.
    """

    operations: Tensor
    edges: Tensor | None = None
    active: Active | None = None


@dataclass(frozen=True)
class EdgePlan:
    """What an edge factory needs to build an edge: (source, target), candidates and width."""

    kind: str
    index: int
    edge: tuple[int, int]
    operations: tuple[str, ...]
    channels: int
    stride: int
    style: OperationStyle
    own: Mapping[str, Operation] = field(default_factory=dict)
    """As in `make_operation`."""


class MixedEdge(nn.Module):
    """Eq. (1): the candidates of an edge, weighted."""

    def __init__(self, plan: EdgePlan) -> None:
        super().__init__()
        self.operations = nn.ModuleList(
            make_operation(name, plan.channels, plan.stride, plan.style, plan.own)
            for name in plan.operations
        )

    def forward(
        self,
        source: Source,
        weights: Sequence[Tensor],
        edge_weight: Tensor | None,
        active: Sequence[bool],
    ) -> list[Term]:
        """The weighted outputs of the active candidates.

        `weights` has one scalar for each candidate (more are ignored); `edge_weight` is a
        scalar, or None for one; `active` has one entry for each candidate.
        """
        terms = []
        for operation, weight, runs in zip(self.operations, weights, active, strict=False):
            if not runs or isinstance(operation, Zero):
                continue
            scale = weight if edge_weight is None else weight * edge_weight
            terms.append(operation(source).weighted(scale))
        return terms


EdgeFactory = Callable[[EdgePlan], nn.Module]


class SearchCell(nn.Module):
    """A cell whose edges are mixed; node j sums its incoming edges (Eqs. 3 and 8)."""

    def __init__(
        self,
        space: SearchSpace,
        plan: CellPlan,
        candidates: Sequence[Sequence[str]],
        style: OperationStyle,
        make_edge: EdgeFactory,
    ) -> None:
        super().__init__()
        spec = self.spec = space.cell
        self.kind = plan.kind
        self.reduction = plan.reduction
        self.preprocess = Preprocess(plan, affine=False)
        self.counts = tuple(len(names) for names in candidates)
        self._plans: Plans = {}
        self.edges = nn.ModuleList(
            make_edge(
                EdgePlan(
                    kind=plan.kind,
                    index=index,
                    edge=edge,
                    operations=tuple(names),
                    channels=plan.channels,
                    stride=2 if plan.reduction and edge[0] < spec.inputs else 1,
                    style=style,
                    own=space.own,
                )
            )
            for index, (edge, names) in enumerate(zip(spec.edges, candidates, strict=True))
        )

    def forward(self, states: Sequence[Source], mixture: Mixture, fast: bool) -> Source:
        """[B, C·outputs, H, W] from the outputs before this cell, oldest first."""
        nodes = self.preprocess(states, fast)
        plain = all(type(edge).forward is MixedEdge.forward for edge in self.edges)
        if fast and plain and self.training and joins(nodes[0].x):
            return self._by_source(nodes, mixture)
        operations = [row.unbind() for row in mixture.operations.unbind()]
        gammas = [None] * len(self.edges) if mixture.edges is None else mixture.edges.unbind()
        for incoming in self.spec.incoming:
            terms: list[Term] = []
            for index in incoming:
                runs = mixture.active[index] if mixture.active else (True,) * self.counts[index]
                source = nodes[self.spec.edges[index][0]]
                terms += self.edges[index](source, operations[index], gammas[index], runs)
            x = combine(terms, fast=fast) if terms else self._nothing(nodes[0].x)
            nodes.append(Source(x, fast=fast))
        return Source([nodes[index] for index in self.spec.concat], fast=fast)

    def _by_source(self, nodes: list[Source], mixture: Mixture) -> Source:
        """The same, all edges that leave a node at once (see `operations.outgoing`)."""
        spec, weights = self.spec, mixture.operations
        if mixture.edges is not None:
            weights = weights * mixture.edges[:, None]
        rows = [row.unbind() for row in weights.unbind()]
        found: list[list[Tensor]] = [[] for _ in self.edges]
        for place in range(spec.inputs + spec.nodes):
            if place == len(nodes):
                values = [x for index in spec.incoming[place - spec.inputs] for x in found[index]]
                x = sum(values[1:], values[0]) if values else self._nothing(nodes[0].x)
                nodes.append(Source(x, fast=True))
            running = [
                each
                for index, (source, _) in enumerate(spec.edges)
                if source == place
                for each in self._running(index, rows[index], mixture.active)
            ]
            for edges, value in outgoing(nodes[place], running, self._plans):
                for index, part in zip(edges, value.unbind(1), strict=True):
                    found[index].append(part)
        return Source([nodes[index] for index in spec.concat], fast=True)

    def _running(
        self, index: int, weights: Sequence[Tensor], active: Active | None
    ) -> Iterator[Running]:
        """What runs on an edge, and is not Zero."""
        edge = self.edges[index]
        assert isinstance(edge, MixedEdge)
        flags = active[index] if active else (True,) * self.counts[index]
        for operation, weight, runs in zip(edge.operations, weights, flags, strict=False):
            if runs and not isinstance(operation, Zero):
                yield Running(index, operation, weight)

    def _nothing(self, x: Tensor) -> Tensor:
        """What a node without a running operation holds: zeros of the cell's resolution."""
        return torch.zeros_like(x[:, :, ::2, ::2] if self.reduction else x)


class Supernet(nn.Module):
    """Owns the weights w and nothing else; α, β live outside.

    `candidates` names the operations of each edge, by cell kind: a smaller supernet is one
    with fewer. `fast` uses the exact identities of `kernels.node_sum`, `kernels.depthwise` and
    `kernels.blocks`, on a GPU those of `operations.outgoing`; without it every step is a stock
    PyTorch module. `low_memory` recomputes
    each cell in the backward pass instead of keeping its features.
    """

    def __init__(
        self,
        space: SearchSpace,
        shape: Shape,
        candidates: Candidates | None = None,
        *,
        make_edge: EdgeFactory = MixedEdge,
        fast: bool = True,
        low_memory: bool = False,
    ) -> None:
        super().__init__()
        self.space = space
        self.candidates = space.full_candidates if candidates is None else candidates
        _check_candidates(space, self.candidates)
        self.fast = fast
        self.low_memory = low_memory
        style = search_style(space)
        outputs = len(space.cell.concat)

        def make_cell(plan: CellPlan) -> SearchCell:
            return SearchCell(space, plan, self.candidates[plan.kind], style, make_edge)

        self.body = Body(
            space,
            shape,
            make_cell,
            searching=True,
            multipliers=dict.fromkeys(space.kinds, outputs),
        )
        if fast:
            make_fast(self)

    def forward(self, images: Tensor, mixtures: Mapping[str, Mixture]) -> Tensor:
        """Logits [B, classes] of images [B, C, H, W] under a mixture for each cell kind."""
        return self.body(images, self._caller(mixtures), self.fast)  # type: ignore[no-any-return]

    def _caller(self, mixtures: Mapping[str, Mixture]) -> CellCall:
        def call(cell: nn.Module, states: list[Source]) -> Source:
            assert isinstance(cell, SearchCell)
            mixture = mixtures[cell.kind]
            if self.low_memory and torch.is_grad_enabled():
                return _recomputed(cell, states, mixture, self.fast)
            output: Source = cell(states, mixture, self.fast)
            return output

        return call


def _recomputed(cell: SearchCell, states: list[Source], mixture: Mixture, fast: bool) -> Source:
    """Run a cell now and again in the backward pass, which must not count its statistics."""

    def run(*inputs: Tensor) -> Tensor:
        output: Source = cell([Source(x, fast=fast) for x in inputs], mixture, fast)
        return output.x

    output: Tensor = checkpoint(
        run,
        *(state.x for state in states),
        use_reentrant=False,
        context_fn=lambda: (_Statistics(cell, frozen=False), _Statistics(cell, frozen=True)),
    )
    return Source(output, fast=fast)


class _Statistics:
    """While entered and frozen, the batch norms of a cell leave their running statistics.

    By a momentum of zero: without tracking, PyTorch would save other tensors than in the
    first pass, which recomputation does not allow.
    """

    def __init__(self, cell: nn.Module, *, frozen: bool) -> None:
        modules = cell.modules() if frozen else ()
        self.norms = [m for m in modules if isinstance(m, nn.BatchNorm2d) and m.training]
        self.saved: list[tuple[float | None, Tensor | None]] = []

    def __enter__(self) -> None:
        for norm in self.norms:
            count = norm.num_batches_tracked
            self.saved.append((norm.momentum, None if count is None else count.clone()))
            norm.momentum = 0.0

    def __exit__(self, *error: object) -> None:
        for norm, (momentum, count) in zip(self.norms, self.saved, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked = count


def _check_candidates(space: SearchSpace, candidates: Candidates) -> None:
    for kind in space.kinds:
        edges = candidates.get(kind, ())
        if len(edges) != len(space.cell.edges) or not all(edges):
            raise UserError(
                f"the {kind} cell of {space.name!r} needs at least one candidate on each of its "
                f"{len(space.cell.edges)} edges"
            )
