"""SNAS: Concrete samples, the temperature, drop path, the cost, the variable edge count."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dots.nas.strategies.shared.expected_operations import resource_costs
from dots.nas.strategies.snas import DropPathEdge, Snas
from dots.networks.kernels.node_sum import Term, combine
from dots.networks.operations.candidates import OperationStyle
from dots.networks.operations.source import Source
from dots.networks.supernet import EdgePlan, MixedEdge
from dots.space.search_space import darts_space
from helpers import contracts, searches, small

CPU = torch.device("cpu")
LOGITS = torch.tensor([1.0, 0.0, -1.0, 2.0, 0.5, 0.3, -2.0, 0.0])


def snas(**changes: object) -> Snas:
    search = searches.search(Snas, fast=False, **changes)
    for alpha in search.alpha.values():
        alpha.data = LOGITS.expand_as(alpha).clone()
    return search


def samples(search: Snas, count: int) -> torch.Tensor:
    """[count, edges, operations] of the normal cell."""
    drawn = []
    for _ in range(count):
        search.draw_noise()
        drawn.append(search.mixtures("architecture")["normal"].operations.detach())
    return torch.stack(drawn)


def test_log_alpha_starts_around_one() -> None:
    search = searches.search(Snas, darts_space(nodes=4))
    values = torch.cat([alpha.detach().flatten() for alpha in search.alpha.values()])
    assert float(values.mean()) == pytest.approx(1.0, abs=2e-3)
    assert float(values.std()) == pytest.approx(0.01, rel=0.15)


def test_the_largest_weight_of_a_sample_falls_on_an_operation_with_probability_alpha() -> None:
    """Whatever the temperature: P(argmax z = k) = softmax(log α)_k."""
    search = snas()
    torch.manual_seed(0)
    for search.temperature in (1.0, 0.03):
        z = samples(search, 400)
        torch.testing.assert_close(z.sum(-1), torch.ones(z.shape[:-1]))
        counts = torch.nn.functional.one_hot(z.argmax(-1), 8).float().mean((0, 1))
        assert float((counts - LOGITS.softmax(0)).abs().max()) < 0.035


def test_of_two_operations_the_log_odds_are_logistic() -> None:
    """The Concrete distribution of two: log(z/(1-z)) = (log α_1 - log α_2 + logistic)/λ."""
    search = snas()
    torch.manual_seed(0)
    search.temperature = 0.5
    z = samples(search, 2000)[..., :2]
    logistic = (z[..., 0].log() - z[..., 1].log()) * 0.5 - (LOGITS[0] - LOGITS[1])
    for value in (-2.0, -0.5, 0.0, 1.0):
        share = float((logistic < value).float().mean())
        assert share == pytest.approx(1 / (1 + math.exp(-value)), abs=0.02)


def test_samples_become_one_hot_as_the_temperature_falls() -> None:
    search, largest = snas(), []
    for epoch in range(4):
        search.set_epoch(epoch)
        torch.manual_seed(0)
        largest.append(float(samples(search, 50).max(-1).values.mean()))
    assert largest == sorted(largest)
    assert largest[-1] > 0.97


@given(epochs=st.integers(2, 40))
@settings(deadline=None, max_examples=5)
def test_the_temperature_falls_linearly_over_the_epochs_there_are(epochs: int) -> None:
    search = searches.search(Snas, darts_space(nodes=1), epochs=epochs)
    line = []
    for epoch in range(epochs):
        search.set_epoch(epoch)
        line.append(search.temperature)
    assert line[0] == pytest.approx(1.0)
    assert line[-1] == pytest.approx(0.03)
    steps = [b - a for a, b in itertools.pairwise(line)]
    assert steps == pytest.approx([(0.03 - 1.0) / (epochs - 1)] * len(steps))


def test_w_and_alpha_learn_from_the_same_batch_and_sample() -> None:
    search, seen = snas(), []
    search.supernet.register_forward_hook(lambda _, args, __: seen.append(args[1]))
    batch = small.batch()
    search.step(0, batch, None)
    assert len(seen) == 1
    assert all(alpha.grad is not None for alpha in search.alpha.values())
    assert search.one_level
    assert not search.wants_architecture_batch(3)


def edge(probability: float) -> DropPathEdge:
    torch.manual_seed(0)
    plan = EdgePlan(
        "normal", 0, (0, 2), ("none", "skip_connect", "sep_conv_3x3"), 4, 1,
        OperationStyle(affine=False, pool_norm=True),
    )  # fmt: skip
    return DropPathEdge(plan, probability)


def total(terms: list[Term]) -> torch.Tensor:
    return combine(terms, fast=False)


def test_drop_path_drops_the_whole_edge_of_a_sample_and_scales_the_others() -> None:
    module = edge(0.3)
    images = torch.randn(400, 4, 6, 6)
    weights, active = torch.tensor([0.1, 0.6, 0.3]).unbind(), (True,) * 3
    plain = total(MixedEdge.forward(module, Source(images), weights, None, active))
    dropped = total(module(Source(images), weights, None, active))
    gone = (dropped == 0).flatten(1).all(1)
    assert float(gone.float().mean()) == pytest.approx(0.3, abs=0.06)
    torch.testing.assert_close(dropped[~gone], plain[~gone] / 0.7)
    module.eval()
    plain = total(MixedEdge.forward(module, Source(images), weights, None, active))
    assert torch.equal(total(module(Source(images), weights, None, active)), plain)


def test_without_drop_path_the_edge_is_the_usual_one() -> None:
    module = edge(0.0)
    weights = torch.tensor([0.1, 0.6, 0.3]).unbind()
    assert len(module(Source(torch.randn(2, 4, 6, 6)), weights, None, (True,) * 3)) == 2
    search = searches.search(Snas, method={"drop_path": 0.0})
    first, second = (search.supernet(small.batch().images, search.mixtures("weights")).detach()
                     for _ in range(2))  # fmt: skip
    assert torch.equal(first, second)


def test_the_cost_adds_the_logarithm_of_every_edge_of_the_very_sample() -> None:
    search = snas(method={"resource": "multiply-adds", "resource_weight": 0.5})
    mixtures = search.mixtures("architecture")
    (costs,) = search.costs
    logs = [
        math.log(max(1.0, float(edge)))
        for kind, mixture in mixtures.items()
        for edge in (mixture.operations.detach() * costs[kind]).sum(1)
    ]
    loss = search.architecture_loss(torch.tensor(2.0), mixtures)
    assert len(logs) == 2 * searches.EDGES
    assert float(loss.detach()) == pytest.approx(2.0 + 0.5 * sum(logs) / 2, rel=1e-6)
    loss.backward()
    grown = {kind: alpha.grad for kind, alpha in search.alpha.items()}
    assert all(gradient is not None and gradient.any(1).all() for gradient in grown.values())


def test_the_published_cost_is_the_mean_of_three() -> None:
    losses = {}
    for resource in ("published", "parameters", "multiply-adds", "memory-access"):
        search = snas(method={"resource": resource, "resource_weight": 1.0})
        loss = search.architecture_loss(torch.tensor(0.0), search.mixtures("architecture"))
        losses[resource] = float(loss.detach())
    whole = losses.pop("published")
    assert whole == pytest.approx(sum(losses.values()) / 3, rel=1e-6)


def test_an_edge_without_cost_adds_nothing() -> None:
    search = snas(method={"resource": "parameters", "resource_weight": 1.0})
    for alpha in search.alpha.values():
        alpha.data.zero_()
        alpha.data[:, 0] = 1e3  # Zero is certain
    search.draw_noise()
    loss = search.architecture_loss(torch.tensor(0.0), search.mixtures("architecture"))
    assert float(loss.detach()) == 0


def test_a_large_weight_of_the_cost_makes_for_cheap_operations() -> None:
    expected = []
    for weight in (0.0, 1e3):
        own = {"resource": "parameters", "resource_weight": weight}
        search = snas(space=darts_space(1), method=own, arch_lr=0.6)
        for step in range(4):
            torch.manual_seed(step)
            search.step(0, small.batch(seed=step), None)
        costs, _ = resource_costs(search.context.space, search.context.shape, 8, "parameters", CPU)
        scores = search.scores()
        expected.append(sum(float((torch.tensor(scores[k]) * costs[k]).sum()) for k in costs))
    assert expected[1] < 0.5 * expected[0]


def test_its_cell_has_every_edge_but_those_where_zero_is_most_probable() -> None:
    search = snas()
    for kind, alpha in search.alpha.items():
        alpha.data.zero_()
        alpha.data[:, 4] = 1.0
        alpha.data[1, 0] = 2.0  # Zero on the second edge
        if kind == "reduce":
            alpha.data[:2, 0] = 2.0  # the first node has no input
    genotype = search.derive()
    zero, sep = "none", "sep_conv_3x3"
    assert {
        kind: [[(edge.op, edge.source) for edge in node] for node in cell.nodes]
        for kind, cell in genotype.cells.items()
    } == {
        "normal": [[(sep, 0)], [(sep, 0), (sep, 1), (sep, 2)]],
        "reduce": [[(zero, 0), (zero, 1)], [(sep, 0), (sep, 1), (sep, 2)]],
    }
    assert genotype.cells["reduce"].output(2) == (2, 3)


def test_a_cell_of_zeros_keeps_the_best_edge_from_an_input() -> None:
    search = snas()
    for alpha in search.alpha.values():
        alpha.data.zero_()
        alpha.data[:, 0] = 5.0
        alpha.data[3, 6] = 1.0  # edge 3 leads from input 1 to node 3
        alpha.data[4, 6] = 2.0  # edge 4 comes from the first node, which has no input
    genotype = search.derive()
    genotype.check_buildable()
    for cell in genotype.cells.values():
        assert [[(edge.op, edge.source) for edge in node] for node in cell.nodes] == [
            [("none", 0), ("none", 1)],
            [("dil_conv_3x3", 1)],
        ]


def test_measured_latencies_go_with_the_state() -> None:
    small_space = darts_space(1, ("none", "skip_connect"))
    first = searches.search(Snas, small_space, method={"resource": "latency"})
    second = searches.search(Snas, small_space, method={"resource": "latency"})
    second.load_state(first.state())
    assert contracts.same(first.costs, second.costs)
