"""Epochs by a share of their number, and batches: to fit the time, or the number of images."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from types import MappingProxyType
from typing import Any

from dots.recipe.settings import HalvingSettings, Recipe, StageSettings, TrainSettings

SEARCHES = ("operations", "topology", "halving")
STAGES = (*SEARCHES, "train")

SMALLEST_BATCH = 16
"""Of fewer images the statistics of a batch norm are noise."""

AS_WRITTEN: Mapping[str, None] = MappingProxyType({"nominal_images": None, "least_steps": None})
"""Of a recipe that is fitted to no number of images."""


def fitted_to_images(recipe: Recipe, train: int, searched: int) -> Recipe:
    """The recipe as it means to be for so many images of training and search.

    Where `nominal_images` is set, fewer images get more epochs, by one over the root of their
    number, so that images seen fall with the root of it. More images get the epochs as they are,
    and take as much more time. Where `least_steps` is set, batches are small enough for so many
    steps an epoch, and learning rates fall with the root of the batch. The searches, which take
    at most `data.search_limit` images, are measured by those.
    """
    nominal, least = recipe.nominal_images, recipe.least_steps
    if nominal is not None:
        few = min(nominal, recipe.data.search_limit or nominal)
        recipe = with_search_share(recipe, max(1.0, few / searched) ** 0.5)
        recipe = with_training_share(recipe, max(1.0, nominal / train) ** 0.5)
    if least is not None:
        images = {"operations": searched, "topology": searched, "train": train}
        stages = {
            name: _with_batch(getattr(recipe, name), count // least)
            for name, count in images.items()
        }
        recipe = recipe.model_copy(update=stages)
    return recipe.model_copy(update=AS_WRITTEN)


def _with_batch(settings: StageSettings, most: int) -> StageSettings:
    """Batches of at most so many images, or SMALLEST_BATCH."""
    batch = min(settings.batch, max(SMALLEST_BATCH, most))
    share = (batch / settings.batch) ** 0.5
    rates = {"lr": settings.lr * share, "lr_min": settings.lr_min * share}
    return settings.model_copy(update={"batch": batch, **rates})


def with_search_share(recipe: Recipe, share: float, names: Container[str] = SEARCHES) -> Recipe:
    """The recipe with `share` times the epochs in the search stages `names`; one at least."""
    update: dict[str, Any] = {}
    for name in ("operations", "topology"):
        settings = getattr(recipe, name)
        if name not in names:
            continue
        epochs = max(1, int(settings.epochs * share))
        alone = int(settings.weight_epochs * share)
        changes: dict[str, Any] = {"epochs": epochs, "weight_epochs": min(alone, epochs - 1)}
        changes["warmup_epochs"] = min(int(settings.warmup_epochs * share), epochs)
        if settings.select == "perturbation":
            changes["tune_epochs"] = max(1, int(settings.tune_epochs * share))
        if settings.weight_epochs == settings.epochs:
            changes["weight_epochs"] = epochs
        if settings.lr_epochs is not None:
            changes["lr_offset"] = int(settings.lr_offset * share)
            horizon = round(settings.lr_epochs * share)
            changes["lr_epochs"] = max(horizon, changes["lr_offset"] + epochs)
        update[name] = settings.model_copy(update=changes)
    if "halving" in names:
        update["halving"] = _halving(recipe.halving, share)
    return recipe.model_copy(update=update)


def _halving(settings: HalvingSettings, share: float) -> HalvingSettings:
    """Fewer epochs a cell; below one, fewer cells; below two, none."""
    epochs = settings.epochs * share
    if epochs >= 1:
        return settings.model_copy(update={"epochs": int(epochs)})
    cells = int(settings.cells * epochs)
    return settings.model_copy(update={"epochs": 1, "cells": cells if cells > 1 else 0})


def with_training_share(recipe: Recipe, share: float) -> Recipe:
    """The recipe with `share` times the epochs of training; one at least."""
    return with_training_epochs(recipe, max(1, int(recipe.train.epochs * share)))


def with_training_epochs(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe with so many epochs of training; what goes with them keeps its share."""
    train, published = with_epochs(recipe.train, epochs), recipe.train.published_epochs
    if published is not None:
        longer = max(1, int(published * epochs / recipe.train.epochs))
        train = train.model_copy(update={"published_epochs": longer})
    return recipe.model_copy(update={"train": train})


def with_epochs(settings: TrainSettings, epochs: int) -> TrainSettings:
    """A training of so many epochs, with the same share of them for the warm-up."""
    warmup = math.ceil(settings.warmup_epochs * epochs / settings.epochs)
    return settings.model_copy(update={"epochs": epochs, "warmup_epochs": min(warmup, epochs - 1)})


def baseline_settings(recipe: Recipe, name: str) -> TrainSettings:
    """How a baseline is trained: as the found cell, a published one longer where set."""
    train = recipe.train
    if name != "published" or train.published_epochs is None:
        return train
    return with_epochs(train, train.published_epochs)
