"""Learning rates: warm-up, then a cosine or a line."""

from __future__ import annotations

import math

import pytest

from dots.nas.strategies.p_darts import PDarts
from dots.recipe import TopologySettings, TrainSettings
from dots.training.optimisers import search_rate, training_rate
from helpers import searches


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
