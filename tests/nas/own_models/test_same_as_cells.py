"""A cell built by hand of choices takes the same steps as the cell code."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from dots.common.seeding import seed_step
from dots.nas.own_models.images import Halves
from dots.nas.own_models.network import ModelContext, ModelSupernet, model_space
from dots.nas.own_models.search import topology_stage
from dots.nas.strategies.base import GradientSearch
from dots.nas.strategies.darts import Darts
from dots.nas.strategies.fair_darts import FairDarts
from dots.nas.topology_search import TopologyStage, new_topology
from dots.networks.body import Shape
from dots.networks.supernet import Supernet
from dots.recipe.settings import TopologySettings
from dots.space.search_space import Groups, darts_space
from helpers import own_models, searches, small

SPACE = darts_space(2, ("skip_connect", "sep_conv_3x3", "max_pool_3x3", "sep_conv_5x5"))
GROUPS = (("sep_conv_3x3", "sep_conv_5x5"), ("skip_connect", "max_pool_3x3"))
TOPOLOGY = TopologySettings(
    epochs=2, cells=3, channels=4, batch=6, lr=0.05, arch_lr=0.1, t_start=2.0, alpha_ratio=0.5
)


def close(first: torch.Tensor, second: torch.Tensor) -> None:
    torch.testing.assert_close(first, second, rtol=0, atol=1e-9)


def same_weights(by_hand: nn.Module, cells: Supernet) -> None:
    """Every operation's weights, in both networks."""
    other = own_models.HandNetwork(cells)
    for one, two in zip(by_hand.parameters(), other.parameters(), strict=True):
        close(one, two)


@pytest.mark.parametrize(
    ("strategy", "groups"),
    [(Darts, None), (Darts, GROUPS), (FairDarts, None)],
)
def test_operation_search(strategy: type[GradientSearch], groups: Groups | None) -> None:
    cells = searches.search(strategy, SPACE, fast=False, precision="64", beta_decay=1.0)
    if groups is not None:
        cells = strategy(replace(cells.context, groups=groups), cells.method)
        cells.begin_epoch(0)
    model = own_models.HandNetwork(cells.supernet, groups)
    space = model_space(model, inputs=False)
    context = ModelContext(
        space, Shape(1, 1, 1, 5), cells.context.settings, small.engine(precision="64"), 0,
        (space.operations,), 8, fast=False, model=model, padded=False, any_edge=False,
    )  # fmt: skip
    by_hand = strategy(context, strategy.Settings())
    draws = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for alpha in cells.alpha.values():
            alpha.copy_(torch.randn(alpha.shape, generator=draws))
        for kind, row in own_models.by_edge(SPACE, dict(cells.alpha)).items():
            by_hand.alpha[kind].copy_(row)
    by_hand.begin_epoch(0)
    for epoch in range(2):
        for search in (cells, by_hand):
            search.set_epoch(epoch)
        first = cells.step(epoch, small.batch(seed=1), small.batch(seed=2))
        second = by_hand.step(epoch, small.batch(seed=1), small.batch(seed=2))
        close(first.loss, second.loss)
    for kind, row in own_models.by_edge(SPACE, dict(cells.alpha)).items():
        close(by_hand.alpha[kind], row)
    assert isinstance(by_hand.supernet, ModelSupernet)
    same_weights(by_hand.supernet.model, cells.supernet)


def test_topology_search() -> None:
    engine = small.engine(precision="64")
    net = engine.place(small.supernet(SPACE, fast=False))
    candidates = net.candidates
    cells = TopologyStage(
        SPACE, candidates, new_topology(SPACE, TOPOLOGY), net, TOPOLOGY, engine,
        small.FewBatches(2),
    )  # fmt: skip
    model = own_models.HandNetwork(net)
    space = model_space(model, inputs=True)
    halves = Halves(own_models.images(12), 0, engine.device)
    by_hand = topology_stage(space, model, space.full_candidates, TOPOLOGY, engine, halves)
    draws = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for kind in SPACE.kinds:
            for node, beta in cells.topology.nodes(kind):
                beta.copy_(torch.randn(beta.shape, generator=draws))
                other = dict(by_hand.topology.nodes(f"inputs:{kind} node {node}"))
                other[0].copy_(beta)
            alpha = cells.gates.alpha[kind]
            alpha.copy_(torch.randn(alpha.shape, generator=draws))
        for kind, row in own_models.by_edge(SPACE, dict(cells.gates.alpha)).items():
            by_hand.gates.alpha[kind].copy_(row)
    for epoch in range(2):
        pair = (small.batch(seed=epoch), None)
        results = []
        for stage in (cells, by_hand):
            seed_step(0, epoch)
            stage.set_epoch(epoch)
            results.append(stage.step(epoch, 0, pair))
        close(results[0].loss, results[1].loss)
    for kind in SPACE.kinds:
        for node, beta in cells.topology.nodes(kind):
            close(dict(by_hand.topology.nodes(f"inputs:{kind} node {node}"))[0], beta)
    for kind, row in own_models.by_edge(SPACE, dict(cells.gates.alpha)).items():
        close(by_hand.gates.alpha[kind], row)
    assert isinstance(by_hand.supernet, ModelSupernet)
    same_weights(by_hand.supernet.model, net)
    chosen, genotype = by_hand.chosen(), cells.genotype()
    for kind, cell in genotype.cells.items():
        for node, edges in enumerate(cell.nodes):
            kept = chosen.inputs[f"{kind} node {node}"]
            assert [edge.source for edge in edges] == list(kept)
            indices = [SPACE.cell.incoming[node][position] for position in kept]
            layers = [chosen.layers[f"{kind} edge {index}"] for index in indices]
            assert [edge.op for edge in edges] == layers
