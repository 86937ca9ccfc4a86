"""Per-edge candidates that shrink during a search: what is left, and what is lost when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dots.nas.relaxation import masked_softmax
from dots.nas.strategies.base import ScoreTable
from dots.space.search_space import Candidates, SearchSpace

Tables = Mapping[str, Tensor]
"""For each cell kind a tensor [edges, operations of the space]."""


class CandidatePruning:
    """Which operations each edge still has, and the rank of those it lost.

    α keeps a column for every operation of the space, [E, O]; the present supernet has a
    column for every candidate of an edge, [E, K] with K the most that any edge has. `gather`
    goes from one to the other. An operation that is dropped leaves its weight and the round
    in which it went, so that all operations of an edge stay comparable (`scores`).
    """

    def __init__(self, space: SearchSpace, candidates: Candidates, device: torch.device) -> None:
        self.space = space
        self.device = device
        self.rounds = 0
        shape = (len(space.cell.edges), len(space.operations))
        # What is lost stays on the CPU in float64, which not every device has.
        self.lost_weight = {kind: torch.zeros(shape, dtype=torch.float64) for kind in space.kinds}
        self.lost_round = {kind: torch.zeros(shape, dtype=torch.int64) for kind in space.kinds}
        self._set_kept({kind: self._mask(candidates[kind]) for kind in space.kinds})

    def _mask(self, edges: Sequence[Sequence[str]]) -> Tensor:
        rows = [[op in names for op in self.space.operations] for names in edges]
        return torch.tensor(rows)

    def _set_kept(self, kept: Tables) -> None:
        """`kept`, on the CPU, and what follows; also on the device: no step waits for it."""
        self._kept_here = dict(kept)
        self.kept = {kind: mask.to(self.device) for kind, mask in kept.items()}
        rows = {kind: mask.tolist() for kind, mask in kept.items()}
        places = {
            kind: [[column for column, kept in enumerate(row) if kept] for row in edges]
            for kind, edges in rows.items()
        }
        self.candidates: Candidates = {
            kind: tuple(tuple(self.space.operations[column] for column in row) for row in edges)
            for kind, edges in places.items()
        }
        self.columns: Tables = {kind: self._padded(edges) for kind, edges in places.items()}

    def _padded(self, edges: list[list[int]]) -> Tensor:
        """[E, K]; a missing candidate repeats the first: the supernet ignores the column."""
        width = max(map(len, edges))
        rows = [row + row[:1] * (width - len(row)) for row in edges]
        return torch.tensor(rows, device=self.device)

    @property
    def decided(self) -> bool:
        """Whether every edge has a single operation left."""
        return all(len(names) == 1 for edges in self.candidates.values() for names in edges)

    def gather(self, kind: str, table: Tensor) -> Tensor:
        """The columns of the present candidates, [E, O] -> [E, K]."""
        return table.gather(1, self.columns[kind])

    def softmax(self, kind: str, logits: Tensor, temperature: float = 1.0) -> Tensor:
        """softmax(logits / temperature) over the candidates of each edge, 0 elsewhere; [E, O]."""
        return masked_softmax(logits, self.kept[kind], temperature)

    def prune(self, kept: Tables, weights: Tables) -> None:
        """Leave the operations of `kept` [E, O], true where an operation stays.

        `weights` [E, O] are those of this moment; the others are remembered with them, unless
        they were lost in an earlier round. Every edge must keep an operation.
        """
        self.rounds += 1
        masks = {kind: mask.cpu() for kind, mask in kept.items()}
        for kind, mask in masks.items():
            if not bool(mask.any(1).all()):
                raise ValueError(f"an edge of the {kind} cell would lose its last operation")
            lost = ~mask & (self._kept_here[kind] | (self.lost_round[kind] == 0))
            now = weights[kind].cpu().double()
            self.lost_weight[kind] = torch.where(lost, now, self.lost_weight[kind])
            self.lost_round[kind] = torch.where(lost, self.rounds, self.lost_round[kind])
        self._set_kept(masks)

    def scores(self, weights: Tables) -> ScoreTable:
        """`weights` for the candidates; for the others a negative number, less the earlier lost.

        An operation lost in the last round with weight w in [0, 1) has w - 1, one lost in the
        round before w - 2, and so on: later losses rank higher, and in a round the heavier.
        """
        table = {}
        for kind, mask in self._kept_here.items():
            age = self.rounds - self.lost_round[kind]
            lost = self.lost_weight[kind] - 1 - age
            now = weights[kind].cpu().double()
            table[kind] = torch.where(mask, now, lost).tolist()
        return table

    def state(self) -> dict[str, Any]:
        return {
            "rounds": self.rounds,
            "kept": dict(self.kept),
            "lost_weight": dict(self.lost_weight),
            "lost_round": dict(self.lost_round),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.rounds = state["rounds"]
        self.lost_weight = dict(state["lost_weight"])
        self.lost_round = dict(state["lost_round"])
        self._set_kept({kind: mask.cpu() for kind, mask in state["kept"].items()})


def heaviest(weights: Tensor, kept: Tensor, count: int) -> Tensor:
    """A mask of the `count` heaviest kept operations of each edge, [E, O]; all, where fewer."""
    ranked = weights.masked_fill(~kept, -torch.inf).argsort(dim=1, descending=True, stable=True)
    best = torch.zeros_like(kept).scatter(1, ranked[:, :count], True)
    return best & kept
