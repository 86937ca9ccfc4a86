"""Small operation searches for tests."""

from __future__ import annotations

from typing import TypeVar

from dots.nas.strategies.base import OperationSearch, SearchContext
from dots.networks.body import Shape
from dots.recipe.settings import OperationSettings
from dots.space.search_space import SearchSpace, darts_space
from dots.training.engine import Engine
from helpers import small

Search = TypeVar("Search", bound=OperationSearch)

EDGES = 5  # of a cell with two inputs and two nodes


def settings(**changes: object) -> OperationSettings:
    """Four epochs of three cells with four channels."""
    values: dict[str, object] = {
        "epochs": 4, "cells": 3, "channels": 4, "batch": 6, "lr": 0.05, "arch_lr": 0.01,
    }  # fmt: skip
    return OperationSettings(**{**values, **changes})  # type: ignore[arg-type]


def search(
    strategy: type[Search],
    space: SearchSpace | None = None,
    *,
    method: dict[str, object] | None = None,
    seed: int = 0,
    fast: bool = True,
    low_memory: bool = False,
    precision: str = "32",
    engine: Engine | None = None,
    **changes: object,
) -> Search:
    """A checked search in its first epoch; by default with two nodes and all operations.

    `changes` are settings of the operation search.
    """
    space = space or darts_space(nodes=2)
    chosen, own = settings(**changes), strategy.Settings(**(method or {}))
    strategy.check(space, chosen, own)
    shape = Shape(chosen.cells, chosen.channels, image_channels=3, classes=5)
    context = SearchContext(
        space,
        shape,
        chosen,
        engine or small.engine(precision=precision),
        seed,
        (space.operations,),
        image_size=8,
        fast=fast,
        low_memory=low_memory,
    )
    built = strategy(context, own)
    built.begin_epoch(0)
    built.set_epoch(0)
    return built
