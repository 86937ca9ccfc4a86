"""α' of the topology search: which of its retained operations does an edge use? (Sec. 4.2.2)"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dots.nas.relaxation import Temperature, masked_softmax
from dots.networks.supernet import Active
from dots.space.search_space import ZERO, Candidates, SearchSpace


class RetainedOperations(nn.Module):
    """α': a choice among the operations that each edge retained, zero at first (Sec. 4.2.2).

    One row for each edge, as many columns as the largest number of retained operations;
    `mask` says which exist. Annealing drives weights to exactly zero: such an operation no
    longer changes anything, and nothing but weight decay would change its α'. `remove_underflown`
    takes it out for good.
    """

    def __init__(self, space: SearchSpace, candidates: Candidates) -> None:
        super().__init__()
        self.candidates = candidates
        self.active: dict[str, Active] = {}
        """Which operations still run, for a Mixture; empty while all do."""
        self.alpha = nn.ParameterDict()
        for kind in space.kinds:
            counts = torch.tensor([len(names) for names in candidates[kind]])
            columns = int(counts.max())
            self.alpha[kind] = nn.Parameter(torch.zeros(len(counts), columns))
            mask = torch.arange(columns) < counts[:, None]
            self.register_buffer(f"mask_{kind}", mask, persistent=False)
            rows = [[*(n != ZERO for n in names), *[False] * columns] for names in candidates[kind]]
            real = torch.tensor([row[:columns] for row in rows])
            self.register_buffer(f"real_{kind}", real, persistent=False)
            self.register_buffer(f"removed_{kind}", torch.zeros_like(mask))

    def _table(self, name: str, kind: str) -> Tensor:
        table: Tensor = getattr(self, f"{name}_{kind}")
        return table

    def weights(self, kind: str, temperature: Temperature, *, real: bool = False) -> Tensor:
        """softmax(α'/T) over the operations that each edge still has, [edges, columns].

        With `real` over those other than Zero; over all of these where none of them is left.
        """
        mask, removed = self._table("mask", kind), self._table("removed", kind)
        left = mask & ~removed
        if real:
            everything = self._table("real", kind)
            left = left & everything
            left = torch.where(left.any(1, keepdim=True), left, everything)
        alpha = self.alpha[kind]
        return masked_softmax(torch.where(removed, alpha.detach(), alpha), left, temperature)

    def choice(self, kind: str) -> Tensor:
        """α' to choose the operations of the cell by, [edges, columns].

        Those that were removed stay behind those that run, wherever the latter move since.
        """
        alpha, removed = self.alpha[kind].detach(), self._table("removed", kind)
        running = self._table("real", kind) & ~removed
        least = alpha.masked_fill(~running, math.inf).amin(1, keepdim=True)
        below = torch.nextafter(least, torch.full_like(least, -math.inf))
        return torch.where(removed, torch.minimum(alpha, below), alpha)

    @torch.no_grad()
    def remove_underflown(self, temperature: float) -> None:
        """Take out the operations whose weight is exactly zero at this temperature.

        Waits for the device once.
        """
        for kind in self.alpha:
            self._table("removed", kind).logical_or_(
                self._table("mask", kind) & (self.weights(kind, temperature) == 0)
            )
        self.read_removed()

    def read_removed(self) -> None:
        """Set `active` from what was removed. Waits for the device once."""
        kinds = list(self.alpha)
        flags = torch.cat([self._table("removed", kind).flatten() for kind in kinds]).tolist()
        self.active = {}
        if not any(flags):
            return
        for kind in kinds:
            names, columns = self.candidates[kind], self.alpha[kind].shape[1]
            rows = [flags[edge * columns :][: len(ops)] for edge, ops in enumerate(names)]
            self.active[kind] = tuple(tuple(not flag for flag in row) for row in rows)
            flags = flags[len(names) * columns :]

    def values(self) -> dict[str, Tensor]:
        """A copy of α'."""
        return {kind: alpha.detach().clone() for kind, alpha in self.alpha.items()}

    @torch.no_grad()
    def hold(self, before: dict[str, Tensor]) -> None:
        """Undo what an optimiser did to the α' that are fixed.

        They are those of operations that were removed, and of one that is left alone: that
        edge has chosen.
        """
        for kind, alpha in self.alpha.items():
            left = self._table("mask", kind) & ~self._table("removed", kind)
            fixed = ~left | (left.sum(1, keepdim=True) == 1)
            alpha.copy_(torch.where(fixed, before[kind], alpha))
