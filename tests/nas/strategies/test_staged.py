"""Stages and rebuilding: when, of what size, and resumed at any step bit for bit."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from dots.common.seeding import seed_step
from dots.nas.strategies.asap import Asap
from dots.nas.strategies.base import OperationSearch
from dots.nas.strategies.dr_nas import DrNas
from dots.nas.strategies.p_darts import PDarts
from dots.nas.strategies.pc_darts import PcDarts
from dots.nas.strategies.shared.progressive import NarrowingSearch, StageSchedule, scaled_cells
from dots.nas.strategies.stac_nas import StacNas
from dots.recipe import preset
from dots.recipe.settings import OperationSettings
from dots.runs.state_file import decode, encode
from dots.space.search_space import darts_space, nasbench201_space
from helpers import searches, small

FAST_PRUNING = {"threshold": 1.0}
METHODS: list[tuple[type[OperationSearch], dict[str, object]]] = [
    (PcDarts, {"k": 2}),
    (PDarts, {}),
    (StacNas, {}),
    (DrNas, {"k": [4, 2]}),
    (Asap, FAST_PRUNING),
]
EPOCHS, STEPS = 4, 2


def run(
    search: OperationSearch, start: tuple[int, int], stop: tuple[int, int] = (EPOCHS, 0)
) -> None:
    """What the loop does from (epoch, step) `start` up to `stop`."""
    for epoch in range(start[0], EPOCHS):
        first = start[1] if epoch == start[0] else 0
        if (epoch, first) >= stop:
            return
        if first == 0 and epoch > 0:
            seed_step(0, "operations", epoch, "begin")
            search.begin_epoch(epoch)
        search.set_epoch(epoch)
        for step in range(first, STEPS):
            if (epoch, step) >= stop:
                return
            seed_step(0, "operations", epoch, step)
            held_out = small.batch(seed=10 + epoch * STEPS + step)
            wanted = search.wants_architecture_batch(epoch)
            search.step(epoch, small.batch(seed=step), held_out if wanted else None)


def equal(left: object, right: object) -> bool:
    """Whether two states hold the same, to the last bit."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    return left == right


def new_search(strategy: type[OperationSearch], method: dict[str, object]) -> OperationSearch:
    return searches.search(
        strategy, darts_space(nodes=1), method=method, epochs=EPOCHS, arch_lr=0.3, cells=2
    )


@pytest.mark.parametrize(
    ("strategy", "method"), METHODS, ids=lambda value: getattr(value, "name", "")
)
def test_resumed_anywhere_equals_undisturbed(
    strategy: type[OperationSearch], method: dict[str, object]
) -> None:
    whole = new_search(strategy, method)
    stops = [(1, 1), (2, 0), (3, 1)]
    saved = []
    for start, stop in pairwise([(0, 0), *stops, (EPOCHS, 0)]):
        run(whole, start, stop)
        saved.append((encode(whole.state()), whole.scores()))
    images = small.batch(seed=99).images
    if isinstance(whole, NarrowingSearch):
        assert whole.narrowing.rounds > 0
    for stop, (content, scores) in zip(stops, saved, strict=False):
        other = new_search(strategy, method)
        other.load_state(decode(content, where="memory"))
        assert equal(other.state(), decode(content, where="memory"))
        assert other.scores() == scores
        run(other, stop)
        assert equal(other.state(), whole.state())
        assert other.scores() == whole.scores()
        assert torch.equal(other.evaluate(images), whole.evaluate(images))
        assert other.derive() == whole.derive()


@pytest.mark.parametrize(
    ("epochs", "stages", "starts"),
    [
        (75, 3, [0, 25, 50]),
        (160, 2, [0, 80]),
        (50, 2, [0, 25]),
        (7, 3, [0, 3, 5]),
        (4, 3, [0, 2, 3]),
        (3, 3, [0, 1, 2]),
        (2, 3, [0, 1]),
        (1, 3, [0]),
        (1, 2, [0]),
    ],
)
def test_epochs_divide_into_stages(epochs: int, stages: int, starts: list[int]) -> None:
    schedule = StageSchedule(epochs, 0, stages)
    numbers = [schedule.stage(epoch) for epoch in range(epochs)]
    assert [numbers.index(stage) for stage in range(len(starts))] == starts
    assert numbers == sorted(numbers)
    assert max(numbers) == len(starts) - 1
    for epoch in range(epochs):
        assert schedule.length(epoch) == numbers.count(numbers[epoch])
        assert schedule.position(epoch) == epoch - starts[numbers[epoch]]


def test_weight_only_epochs_are_spread_over_the_stages() -> None:
    published = StageSchedule(75, 30, 3)
    assert [published.weight_only(epoch) for epoch in (0, 24, 25, 74)] == [10] * 4
    assert StageSchedule(50, 20, 2).weight_only(30) == 10
    assert StageSchedule(6, 2, 3).weight_only(0) == 0  # a stage of two epochs must learn α
    assert StageSchedule(6, 6, 3).weight_only(0) == 2


def test_cells_scale_and_fit_the_skeleton() -> None:
    darts, benchmark = darts_space(), nasbench201_space()
    assert [scaled_cells(darts, 8, part, 8) for part in (5, 11, 17)] == [5, 11, 17]
    assert [scaled_cells(darts, 3, part, 8) for part in (5, 11, 17)] == [3, 4, 6]
    assert [scaled_cells(benchmark, 3, part, 8) for part in (5, 11, 17)] == [3, 3, 6]
    assert scaled_cells(darts, 1, 5, 8) == 1


@pytest.mark.parametrize("strategy", [PDarts, StacNas])
def test_each_stage_has_a_cosine_of_its_own(strategy: type[PDarts] | type[StacNas]) -> None:
    search = searches.search(strategy, darts_space(nodes=1), epochs=6, lr=0.4, lr_min=0.0)
    rates = []
    for epoch in range(6):
        search.begin_epoch(epoch)
        search.set_epoch(epoch)
        rates.append(search.weight_optimiser.lr)
    assert rates[:3] == (pytest.approx([0.4, 0.2, 0.4]) if strategy is PDarts else
                         pytest.approx([0.4, 0.3, 0.1]))  # fmt: skip
    assert rates[3:] == (pytest.approx([0.2, 0.4, 0.2]) if strategy is PDarts else rates[:3])


@pytest.mark.parametrize("strategy", [strategy for strategy, _ in METHODS], ids=lambda s: s.name)
def test_published_settings_fit_the_paper_preset(strategy: type[OperationSearch]) -> None:
    own = preset("paper-cifar").operations.model_dump()
    settings = OperationSettings(**{**own, **strategy.published})
    strategy.check(darts_space(), settings, strategy.Settings())
