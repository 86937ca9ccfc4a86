"""The learning rate of a training that changes it with every step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from dots.recipe import PRESETS, preset
from dots.recipe.settings import TrainSettings
from dots.training.optimisers import WeightOptimiser, training_rate


def _settings(**changes: Any) -> TrainSettings:
    values = {"epochs": 10, "cells": 3, "channels": 4, "batch": 8, "lr": 0.2, "anneal": "step",
              "schedule": "linear", "warmup_epochs": 4}  # fmt: skip
    return TrainSettings(**(values | changes))


def test_the_rate_is_a_triangle() -> None:
    rate = training_rate(_settings())
    assert [rate(e) for e in (0, 2, 4, 7, 10)] == pytest.approx([0.008, 0.104, 0.2, 0.1, 0.0])
    rates = [rate(position / 50) for position in range(500)]
    rising, falling = rates[:200], rates[200:]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    assert max(rates) == pytest.approx(0.2)


def test_a_cosine_starts_where_the_warm_up_ends() -> None:
    rate = training_rate(_settings(schedule="cosine", lr_min=0.02))
    assert [rate(e) for e in (4, 7, 10)] == pytest.approx([0.2, 0.11, 0.02])


def test_without_warm_up_it_falls_from_the_start() -> None:
    assert training_rate(_settings(warmup_epochs=0))(0) == pytest.approx(0.2)


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("paper")])
def test_published_recipes_stay_as_published(name: str) -> None:
    train = preset(name).train
    assert (train.anneal, train.decay_norms, train.nesterov) == ("epoch", True, False)
    assert train.lr == (0.5 if "imagenet" in name else 0.025)
    assert train.warmup_epochs == (5 if "imagenet" in name else 0)


def test_norms_and_biases_are_not_decayed() -> None:
    """With zero gradients a step is the decay alone."""
    network = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))
    before = [p.detach().clone() for p in network.parameters()]
    optimiser = WeightOptimiser(
        network.parameters(), lambda _: 0.1, momentum=0.0, weight_decay=0.5, clip=None,
        decay_norms=False,
    )  # fmt: skip
    for parameter in optimiser.parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimiser.apply()
    for old, new in zip(before, network.parameters(), strict=True):
        factor = 0.95 if new.ndim > 1 else 1.0
        torch.testing.assert_close(new.detach(), factor * old)
