"""The steps of `textbook.py`'s networks as published code takes them: the baselines.

Forward, backward, clipping and the optimisers, on images that are there already, NCHW.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import textbook
from dots import zoo
from dots.nas.topology import membership
from dots.space.edge_combinations import EdgeChoice, combinations
from dots.space.search_space import SearchSpace, darts_space
from ours import CLASSES, CPU, HALFWAY, PUBLISHED, Sizes, recipe


def sgd(net: nn.Module) -> torch.optim.SGD:
    """The published optimiser of w."""
    return torch.optim.SGD(net.parameters(), lr=0.025, momentum=0.9, weight_decay=3e-4)


def adam(parameters: Sequence[nn.Parameter]) -> torch.optim.Adam:
    """The published optimiser of the architecture."""
    return torch.optim.Adam(parameters, lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3)


class TextbookSearch:
    """First-order DARTS, as published code has it."""

    def __init__(self, sizes: Sizes, device: torch.device = CPU) -> None:
        space = darts_space(sizes.nodes)
        self.net = textbook.Supernet(space, sizes.channels, sizes.cells, CLASSES).to(device)
        shape = len(space.cell.edges), len(space.operations)
        self.alpha = {
            kind: nn.Parameter(1e-3 * torch.randn(shape, device=device)) for kind in space.kinds
        }
        self.images, self.labels = (tensor.to(device) for tensor in sizes.images())
        self.sgd, self.adam = sgd(self.net), adam(list(self.alpha.values()))

    def loss(self) -> Tensor:
        mixtures = {kind: (torch.softmax(a, -1), None) for kind, a in self.alpha.items()}
        return F.cross_entropy(self.net(self.images, mixtures), self.labels)

    def weight_step(self) -> None:
        """One step of w; α asks for no gradient, which is faster than what was published."""
        for alpha in self.alpha.values():
            alpha.requires_grad_(False)
        self.sgd.zero_grad()
        self.loss().backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.sgd.step()
        for alpha in self.alpha.values():
            alpha.requires_grad_(True)

    def architecture_step(self) -> None:
        """One step of α: the gradient of w is computed with it, and thrown away."""
        self.adam.zero_grad()
        self.loss().backward()
        self.adam.step()

    def architecture_step_without_weights(self) -> None:
        """The same without the gradient of w, which published code does not spare itself."""
        self.net.requires_grad_(False)
        self.architecture_step()
        self.net.requires_grad_(True)


class TextbookTopology:
    """The topology search as in the authors' release: all operations there, zeros skipped."""

    def __init__(
        self,
        sizes: Sizes,
        retained: Sequence[str],
        edges: EdgeChoice = "pairs",
        device: torch.device = CPU,
    ) -> None:
        space = darts_space(sizes.nodes)
        self.net = textbook.Supernet(space, sizes.channels, sizes.cells, CLASSES).to(device)
        count = len(space.cell.edges)
        self.columns = [space.operations.index(name) for name in retained]
        self.width = len(space.operations)
        gates = torch.zeros(count, len(retained), device=device)
        self.gates = {kind: nn.Parameter(gates.clone()) for kind in space.kinds}
        tables = [membership(len(i), edges, normalise=True) for i in space.cell.incoming]
        self.tables = [table.to(device) for table in tables]
        self.beta = {kind: _zeros(space, edges, device) for kind in space.kinds}
        self.images, self.labels = (tensor.to(device) for tensor in sizes.images())
        nodes = [beta for kind in space.kinds for beta in self.beta[kind]]
        self.sgd, self.adam = sgd(self.net), adam([*nodes, *self.gates.values()])

    def mixture(self, kind: str) -> textbook.Mixture:
        gates = torch.softmax(self.gates[kind] / 0.01, -1)
        weights = gates.new_zeros(len(gates), self.width)
        weights[:, self.columns] = gates
        gamma = [
            torch.softmax(beta / 10, -1) @ table
            for beta, table in zip(self.beta[kind], self.tables, strict=True)
        ]
        return weights, torch.cat(gamma)

    def step(self) -> None:
        """One step of w, β and α' by one gradient."""
        self.sgd.zero_grad()
        self.adam.zero_grad()
        mixtures = {kind: self.mixture(kind) for kind in self.beta}
        F.cross_entropy(self.net(self.images, mixtures), self.labels).backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.sgd.step()
        self.adam.step()


def _zeros(space: SearchSpace, edges: EdgeChoice, device: torch.device) -> list[nn.Parameter]:
    lengths = [len(combinations(len(incoming), edges)) for incoming in space.cell.incoming]
    return [nn.Parameter(torch.zeros(length, device=device)) for length in lengths]


class TextbookTraining:
    """The training of a published cell with stock modules, NCHW."""

    def __init__(self, sizes: Sizes, device: torch.device = CPU) -> None:
        genotype = zoo.load(PUBLISHED).genotype
        net = textbook.DerivedNetwork(genotype, sizes.channels, sizes.cells, CLASSES, True)
        self.net = net.to(device)
        self.images, self.labels = (tensor.to(device) for tensor in sizes.images())
        self.sgd = sgd(self.net)
        settings = recipe().train
        self.drop_path = settings.drop_path * HALFWAY / settings.epochs
        self.auxiliary = settings.auxiliary

    def step(self) -> None:
        """One step of w."""
        self.sgd.zero_grad()
        logits, extra = self.net(self.images, self.drop_path)
        loss = F.cross_entropy(logits, self.labels)
        if extra is not None:
            loss = loss + self.auxiliary * F.cross_entropy(extra, self.labels)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.sgd.step()
