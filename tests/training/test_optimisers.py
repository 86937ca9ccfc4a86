"""Learning rates: warm-up, then a cosine or a line."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dots.nas.strategies.p_darts import PDarts
from dots.recipe import TopologySettings, TrainSettings
from dots.training import optimisers
from dots.training.optimisers import WeightOptimiser, search_rate, training_rate
from helpers import contracts, searches


def falling(epoch: int, horizon: int) -> float:
    return 0.25 * (1 + math.cos(math.pi * epoch / horizon))


def test_a_search_warms_up_and_then_follows_its_cosine() -> None:
    """lr·(e+1)/5 for e < 5, as in PC-DARTS' search on ImageNet; the cosine starts at epoch 0."""
    rate = search_rate(searches.settings(epochs=50, lr=0.5, warmup_epochs=5))
    expected = [0.1, 0.2, 0.3, 0.4, 0.5] + [falling(epoch, 50) for epoch in range(5, 50)]
    assert [rate(epoch) for epoch in range(50)] == pytest.approx(expected)
    plain = search_rate(searches.settings(epochs=50, lr=0.5))
    assert [plain(e) for e in range(50)] == pytest.approx([falling(e, 50) for e in range(50)])


def test_the_warm_up_counts_the_epochs_of_its_stage() -> None:
    """Also where the cosine has epochs behind it."""
    settings = TopologySettings(
        epochs=4, cells=3, channels=4, batch=6, lr=0.5, warmup_epochs=2, lr_epochs=10, lr_offset=6
    )
    rates = [search_rate(settings)(epoch) for epoch in range(4)]
    assert rates == pytest.approx([0.25, 0.5, falling(8, 10), falling(9, 10)])


def test_a_search_in_stages_warms_up_in_each() -> None:
    search = searches.search(PDarts, epochs=9, lr=0.5, lr_min=0.0, warmup_epochs=1)
    rates = [search.stage_rate(epoch) for epoch in range(9)]
    assert rates == pytest.approx([0.5, falling(1, 3), falling(2, 3)] * 3)
    search = searches.search(PDarts, epochs=12, lr=0.5, lr_min=0.0, warmup_epochs=2)
    rates = [search.stage_rate(epoch) for epoch in range(12)]
    assert rates == pytest.approx([0.25, 0.5, falling(2, 4), falling(3, 4)] * 3)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_training_warms_up_as_before(schedule: str) -> None:
    settings = TrainSettings(
        epochs=10, cells=3, channels=4, batch=6, lr=0.5, warmup_epochs=2, schedule=schedule
    )
    rates = [training_rate(settings)(epoch) for epoch in range(10)]
    assert rates[:2] == [0.25, 0.5]
    line = [0.5 * (1 - e / 10) for e in range(2, 10)]
    curve = [falling(e, 10) for e in range(2, 10)]
    assert rates[2:] == pytest.approx(line if schedule == "linear" else curve)


def some_weights(steps: int = 0) -> tuple[list[nn.Parameter], WeightOptimiser]:
    """Two weights, of which the second has no gradient in the first step."""
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(4, 3)) for _ in range(2)]
    made = WeightOptimiser(
        weights, lambda epoch: 0.1 / (1 + epoch), momentum=0.9, weight_decay=1e-3, clip=5.0
    )
    for step in range(steps):
        for weight in weights[: 1 + bool(step)]:
            weight.grad = torch.randn(4, 3)
        made.set_epoch(step)
        made.apply()
    return weights, made


def test_the_fused_optimiser_of_a_gpu_does_what_the_other_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where a weight begins to learn later than others."""
    plain, _ = some_weights(4)
    monkeypatch.setattr(optimisers, "on_a_gpu", lambda parameters: True)
    fused, made = some_weights(4)
    assert isinstance(made.sgd.param_groups[0]["lr"], torch.Tensor)
    for one, other in zip(plain, fused, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("where", [True, False])
def test_a_state_goes_from_one_device_to_the_other(
    where: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the learning rate as a number; how steps are computed is the device's own."""
    monkeypatch.setattr(optimisers, "on_a_gpu", lambda parameters: where)
    _, first = some_weights(4)
    state = first.state()
    assert state["param_groups"][0]["lr"] == 0.1 / 4
    monkeypatch.setattr(optimisers, "on_a_gpu", lambda parameters: not where)
    _, second = some_weights(1)
    rate = second.sgd.param_groups[0]["lr"]
    second.load_state(state)
    assert bool(second.sgd.param_groups[0]["fused"]) is not where
    assert contracts.same(first.state()["state"], second.state()["state"])
    if not where:  # a captured step reads it: it must be the same tensor
        assert second.sgd.param_groups[0]["lr"] is rate
        assert float(rate) == pytest.approx(0.1 / 4)
