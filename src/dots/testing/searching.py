"""Small operation searches, driven as the loop does, and looked into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from dots.common.seeding import seed_step
from dots.data.batch import Batch
from dots.nas.strategies.base import (
    GradientSearch,
    OperationSearch,
    SearchContext,
    SupernetSearch,
)
from dots.networks.body import Shape
from dots.networks.operations.candidates import Zero
from dots.networks.supernet import SearchCell
from dots.recipe.settings import OperationSettings
from dots.runs import state_file as checkpoint
from dots.space.search_space import SearchSpace, darts_space
from dots.testing import small
from dots.training.engine import Engine

STEPS = 2
"""Steps of an epoch."""
SMALL = darts_space(nodes=1)

Search = TypeVar("Search", bound=OperationSearch)


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
    method: Mapping[str, object] | None = None,
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


class Event(NamedTuple):
    """What the loop has just done; `step` is that of the step, or -1."""

    kind: Literal["entered", "stepped", "ended"]
    epoch: int
    step: int


def batch_of(half: str, epoch: int, step: int) -> Batch:
    """A batch that is a function of where it is used."""
    return small.batch(images=4, seed=1000 * (half == "B") + 10 * epoch + step)


def drive(
    search: OperationSearch, start: tuple[int, int] = (0, 0), *, steps: int = STEPS
) -> Iterator[Event]:
    """Run a search from (epoch, step) to its end, in the order of calls of `dots.training.loop`."""
    seed, epochs = search.context.seed, search.context.settings.epochs
    epoch, step = start
    while epoch < epochs:
        if step == 0:
            seed_step(seed, "operations", epoch, "begin")
            search.begin_epoch(epoch)
        search.set_epoch(epoch)
        yield Event("entered", epoch, -1)
        while step < steps:
            held_out = None
            if search.wants_architecture_batch(epoch):
                held_out = batch_of("B", epoch, step)
            seed_step(seed, "operations", epoch, step)
            result = search.step(epoch, batch_of("A", epoch, step), held_out)
            assert torch.isfinite(result.loss)
            assert 0 <= int(result.correct) <= result.images == 4
            yield Event("stepped", epoch, step)
            step += 1
        record = search.end_epoch(epoch)
        assert all(isinstance(value, float | int) for value in record.values())
        search.mixing_weights()
        search.derive()
        yield Event("ended", epoch, -1)
        if search.finished(epoch):
            return
        epoch, step = epoch + 1, 0


def run(search: OperationSearch, *, steps: int = STEPS) -> OperationSearch:
    """Drive a search to its end."""
    for _ in drive(search, steps=steps):
        pass
    return search


def interrupted_after_every_step(build: Callable[[], OperationSearch]) -> OperationSearch:
    """A search that is stopped after each step and goes on in a new process, so to speak."""
    search, start = build(), (0, 0)
    while True:
        events = drive(search, start)
        for event in events:
            if event.kind == "stepped":
                break
        else:
            return search
        content = checkpoint.encode(search.state())
        if event.step + 1 < STEPS:
            start = (event.epoch, event.step + 1)
        elif sum(1 for _ in _epoch_end(events)) == 0 or search.finished(event.epoch):
            return search
        else:
            start = (event.epoch + 1, 0)
            content = checkpoint.encode(search.state())
        torch.manual_seed(start[0] * 7 + start[1])  # another process has another random state
        search = build()
        search.load_state(checkpoint.decode(content, where="a test"))


def _epoch_end(events: Iterator[Event]) -> Iterator[Event]:
    """The rest of the events of this epoch."""
    for event in events:
        yield event
        if event.kind == "ended":
            return


def same(first: object, second: object) -> bool:
    """Whether two states are equal, bit for bit."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return type(first) is type(second) and first == second


def copied(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The values of tensors now."""
    return [tensor.detach().clone() for tensor in tensors]


def used_alphas(search: GradientSearch) -> list[nn.Parameter]:
    """α of the cell kinds that the supernet has cells of: a shallow one may lack a kind."""
    kinds = {cell.kind for cell in search.supernet.body.cells}
    return [alpha for kind, alpha in search.alpha.items() if kind in kinds]


def operation_modules(search: SupernetSearch) -> Iterator[tuple[str, int, int, nn.Module]]:
    """(cell kind, number of the cell, edge, operation) for each operation that is not Zero."""
    for number, cell in enumerate(search.supernet.body.cells):
        assert isinstance(cell, SearchCell)
        for index, edge in enumerate(cell.edges):
            for module in edge.modules():
                candidates = getattr(module, "operations", None)
                if isinstance(candidates, nn.ModuleList):
                    for operation in candidates:
                        if not isinstance(operation, Zero):
                            yield cell.kind, number, index, operation


@contextmanager
def counted(search: SupernetSearch) -> Iterator[Counter[nn.Module]]:
    """Counts the forwards of each operation module while entered."""
    calls: Counter[nn.Module] = Counter()
    handles = [
        module.register_forward_hook(lambda module, *_: calls.update([module]))
        for *_, module in operation_modules(search)
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
