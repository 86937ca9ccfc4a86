"""Small supernets, batches and engines for tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from dots.data.batch import Batch
from dots.networks.supernet import Mixture, Supernet
from dots.space.search_space import SearchSpace, darts_space
from dots.testing.small import SHAPE, batch, engine

__all__ = [
    "SHAPE", "FewBatches", "batch", "cell_outputs", "engine", "one_hot", "random_mixtures",
    "supernet",
]  # fmt: skip


class FewBatches:
    """The same few batches every epoch, as `dots.data.Batches` would give them."""

    def __init__(self, count: int = 3, **settings: int) -> None:
        self.items = [batch(seed=seed, **settings) for seed in range(count)]
        self.steps = count

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches from `start` on."""
        return iter(self.items[start:])


def supernet(space: SearchSpace | None = None, seed: int = 0, **settings: object) -> Supernet:
    """A supernet of SHAPE with seeded weights."""
    torch.manual_seed(seed)
    return Supernet(space or darts_space(), SHAPE, **settings)  # type: ignore[arg-type]


def cell_outputs(net: Supernet, images: Tensor, mixtures: Mapping[str, Mixture]) -> list[Tensor]:
    """The output of every cell."""
    return [state.x for state in net.body.states(images, net._caller(mixtures), net.fast)]


def random_mixtures(
    net: Supernet, seed: int = 0, dtype: torch.dtype = torch.float32, *, edges: bool = True
) -> dict[str, Mixture]:
    """Random positive weights for every candidate, and for every edge."""
    generator = torch.Generator().manual_seed(seed)
    mixtures = {}
    for kind, candidates in net.candidates.items():
        columns = max(map(len, candidates))
        weights = torch.rand(len(candidates), columns, generator=generator, dtype=dtype)
        gamma = torch.rand(len(candidates), generator=generator, dtype=dtype)
        mixtures[kind] = Mixture(
            weights.requires_grad_(), gamma.requires_grad_() if edges else None
        )
    return mixtures


def one_hot(columns: list[int], width: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Rows with a single one."""
    return torch.nn.functional.one_hot(torch.tensor(columns), width).to(dtype)
