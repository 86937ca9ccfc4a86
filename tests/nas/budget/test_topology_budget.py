"""The topology search under a budget: the expected cost falls, the recorded loss stays."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dots.nas.budget.cost_table import counted_tables
from dots.nas.budget.penalty import CostPenalty, uniform_kept
from dots.nas.topology import make_topology
from dots.nas.topology_search import TopologyStage
from dots.networks.supernet import Supernet
from dots.recipe.settings import TopologySettings
from dots.space.search_space import darts_space
from helpers import small

SPACE = darts_space(nodes=2)
NAMES = dict.fromkeys(SPACE.kinds, (("none", "skip_connect", "sep_conv_3x3"),) * 5)
TABLE = counted_tables(SPACE, small.SHAPE, 8)[0]


def stage(weight: float, **changes: Any) -> TopologyStage:
    values: dict[str, Any] = {
        "epochs": 2, "cells": 3, "channels": 4, "batch": 6, "lr": 0.05, "arch_lr": 0.1,
        "t_start": 1.0, "t_end": 1.0, "alpha_ratio": 1.0,
    }  # fmt: skip
    penalty = None
    if weight:
        limits = {"parameters": TABLE.fixed}
        penalty = CostPenalty(SPACE, [TABLE], limits, weight, uniform_kept(SPACE, "pairs"))
    topology = make_topology(
        SPACE, parameterisation="combinations", edges="pairs", normalise=True, threshold=0.5
    )
    torch.manual_seed(0)
    net = Supernet(SPACE, small.SHAPE, NAMES)
    held_out = small.FewBatches() if changes.get("held_out") else None
    built = TopologyStage(
        SPACE, NAMES, topology, net, TopologySettings(**(values | changes)), small.engine(),
        small.FewBatches(), held_out, penalty,
    )  # fmt: skip
    built.set_epoch(0)
    return built


def run(built: TopologyStage, steps: int = 3) -> list[float]:
    """The expected parameters before the first step and after each."""
    costs = [built.end_epoch(0)["expected_parameters"]]
    for step, pair in zip(range(steps), built.batches(0, 0), strict=False):
        built.step(0, step, pair)
        costs.append(built.end_epoch(0)["expected_parameters"])
    return costs


@pytest.mark.parametrize("held_out", [False, True])
def test_the_expected_cost_falls(held_out: bool) -> None:
    costs = run(stage(1000.0, held_out=held_out))
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < costs[0]


def test_edges_become_cheaper_too() -> None:
    """β prefers pairs with fewer convolutions to come, once operations differ among edges."""
    built = stage(1000.0)
    with torch.no_grad():
        for alpha in built.gates.alpha.values():
            alpha[2, 2] = 5.0  # the first edge of the second node: a convolution
            alpha[3:, 1] = 5.0  # the others: skips
    run(built)
    for kind in SPACE.kinds:
        beta = dict(built.topology.nodes(kind))[1]
        assert int(beta.argmax()) == 2  # the pair without the first edge


def test_the_recorded_loss_is_that_of_the_images() -> None:
    losses = []
    for weight in (0.0, 1000.0):
        built = stage(weight)
        (pair, *_) = built.batches(0, 0)
        losses.append(float(built.step(0, 0, pair).loss))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_without_a_budget_nothing_is_recorded() -> None:
    assert "expected_parameters" not in stage(0.0).end_epoch(0)
