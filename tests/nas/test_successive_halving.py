"""Successive halving: who enters, who leaves, what a resume sees, and that planted cells win."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from dots.nas.budget.budget import Budget
from dots.nas.finalists import Finalist, finalists
from dots.nas.plan import trained_form
from dots.nas.successive_halving import LARGEST_LOSS, SuccessiveHalving, halving_record
from dots.networks.body import Shape
from dots.networks.count import network_cost
from dots.networks.derived import DerivedNetwork
from dots.recipe import BudgetSettings, preset
from dots.recipe.settings import HalvingSettings
from dots.runs.progress import Silent
from dots.space.genotype import Cell, Edge, Genotype
from dots.space.search_space import SearchSpace, darts_space, named_space
from dots.training.evaluate import TestResult
from dots.training.loop import Interrupted, Loop
from dots.training.processes import Processes
from dots.zoo import PUBLISHED, resolve
from helpers import small
from helpers.journals import Memory, SignalAfter

SETTINGS = preset("quick").train


def cell_of(op: str, nodes: int = 4) -> Genotype:
    """The same operation on two edges of every node."""
    rows = tuple((Edge(op, node), Edge(op, node + 1)) for node in range(nodes))
    cell = Cell(rows, tuple(range(2, nodes + 2)))
    return Genotype({"normal": cell, "reduce": cell})


def budget(space: SearchSpace | None = None, **budget: Any) -> Budget:
    return Budget(
        space or darts_space(), BudgetSettings(**budget), preset("tiny").topology, small.SHAPE, 16
    )


def test_the_searched_cell_is_first_and_no_cell_comes_twice() -> None:
    searched = cell_of("skip_connect")
    found = finalists(9, searched, budget(), policy=searched, seed=3)
    first, second, third = PUBLISHED
    assert [cell.origin for cell in found] == [
        "searched", first, "random-1", second, third, *(f"random-{draw}" for draw in range(2, 6))
    ]  # fmt: skip
    policy = finalists(6, searched, budget(), policy=cell_of("sep_conv_5x5"))
    assert [cell.origin for cell in policy][2:] == ["random-1", second, "darts-policy", third]
    assert len({cell.genotype for cell in found}) == 9
    assert budget().random_cell(3) not in [cell.genotype for cell in found]
    assert found == finalists(9, searched, budget(), policy=searched, seed=3)


def test_all_compete_in_the_form_in_which_they_would_be_trained() -> None:
    """Cells that are alike in that form are one; within a budget there is no dense form."""
    recipe = preset("quick")
    form = partial(trained_form, recipe)
    searched = cell_of("sep_conv_5x5")
    found = finalists(6, searched, budget(), policy=cell_of("sep_conv_3x3"), form=form)
    first, second, third = PUBLISHED
    assert [cell.origin for cell in found] == [
        "searched", first, "random-1", second, third, "random-2"
    ]  # fmt: skip
    assert found[0].genotype == cell_of("nor_conv_3x3")
    assert found[1].genotype == resolve(f"{first}-dense")
    limits = BudgetSettings(max_parameters=10**9)
    assert trained_form(recipe.model_copy(update={"budget": limits}), searched) == searched


def test_every_finalist_is_within_the_budget() -> None:
    free = finalists(8, cell_of("skip_connect"), budget(), policy=cell_of("sep_conv_5x5"))
    sizes = [network_cost(cell.genotype, small.SHAPE, 16).parameters for cell in free]
    limit = sorted(sizes)[3]
    tight = budget(max_parameters=limit)
    found = finalists(8, cell_of("skip_connect"), tight, policy=cell_of("sep_conv_5x5"))
    assert len(found) > 1
    assert "darts-policy" not in [cell.origin for cell in found]
    for cell in found:
        assert network_cost(cell.genotype, small.SHAPE, 16).parameters <= limit


@pytest.mark.parametrize("name", ["nasbench201", "s4"])
def test_a_space_without_the_published_cells_does_without(name: str) -> None:
    space = named_space(name)
    searched = budget(space).random_cell(0)
    origins = [cell.origin for cell in finalists(4, searched, budget(space))]
    assert origins == ["searched", "random-1", "random-2", "random-3"]


def test_the_rounds_halve_and_the_epochs_of_a_cell_double() -> None:
    halving = HalvingSettings(cells=8, epochs=3)
    assert halving.rounds(8) == ((8, 3), (4, 3), (2, 6))
    assert halving.rounds(5) == ((5, 3), (3, 3), (2, 6))
    assert halving.rounds(1) == ()
    assert halving.all_epochs(8) == 8 * 3 + 4 * 3 + 2 * 6


class Planted:
    """A judge that knows how good each cell is."""

    def __init__(self, accuracy: dict[str, float], loss: dict[str, float] | None = None) -> None:
        self.accuracy, self.loss = accuracy, loss or {}

    def __call__(self, network: Any) -> TestResult:
        name = network.origin
        loss = self.loss.get(name, 1.0)
        return TestResult(self.accuracy[name], None, 0.0, loss, 4, [], ())


def build(cell: Finalist) -> DerivedNetwork:
    torch.manual_seed(0)
    network = DerivedNetwork(cell.genotype, Shape(2, 2, 3, 5))
    network.origin = cell.origin  # type: ignore[assignment]
    network.steps = 0  # type: ignore[assignment]

    def count(*_: object) -> None:
        network.steps += torch.is_grad_enabled()  # type: ignore[operator]  # only training has one

    network.body.stem.register_forward_hook(count)
    return network


def stage_of(judge: Any, *origins: str, epochs: int = 1, batches: Any = None) -> SuccessiveHalving:
    cells = [Finalist(name, cell_of("skip_connect", 1)) for name in origins]
    few: Any = batches or small.FewBatches(2)
    halving = HalvingSettings(cells=len(cells), epochs=epochs)
    return SuccessiveHalving(cells, halving, SETTINGS, small.engine(), few, build, judge)


def drive(stage: SuccessiveHalving, journal: Memory, stop: Any = lambda: None) -> None:
    Loop(
        seed=5,
        processes=Processes.single(torch.device("cpu")),
        journal=journal,
        watcher=Silent(),
        stop_signal=stop,
        save_every=0,
    ).run(stage)


def test_the_worse_half_leaves_and_the_best_is_left() -> None:
    stage, journal = stage_of(Planted({"a": 0.1, "b": 0.4, "c": 0.3, "d": 0.2}), *"abcd"), Memory()
    drive(stage, journal)
    assert stage.winner.origin == "b"
    trained = [row["cell"] for row in journal.rows]
    assert trained == [0, 1, 2, 3, 1, 2]
    record = halving_record(stage, journal.rows).to_json()
    assert record["winner"] == "b"
    assert [cell["epochs"] for cell in record["cells"]] == [1, 2, 2, 1]
    assert [len(cell["validation"]) for cell in record["cells"]] == [1, 2, 2, 1]


def test_equal_accuracies_are_told_apart_by_the_loss_then_by_the_order() -> None:
    stage = stage_of(
        Planted({"a": 0.5, "b": 0.5, "c": 0.5}, {"a": 0.7, "b": 0.6, "c": 0.6}), *"abc"
    )
    drive(stage, Memory())
    assert stage.winner.origin == "b"


def test_a_network_that_diverges_loses_and_the_run_goes_on() -> None:
    nan = float("nan")
    stage = stage_of(Planted({"a": 0.9, "b": 0.1}, {"a": nan}), *"ab")
    drive(stage, Memory())
    assert stage.winner.origin == "b"
    assert stage.judged[0] == [(0.0, LARGEST_LOSS)]


def test_survivors_keep_their_weights() -> None:
    """What is judged in a later round has been trained in the rounds before too."""
    four = {"a": 0.4, "b": 0.3, "c": 0.1, "d": 0.1}
    steps: dict[str, list[int]] = {name: [] for name in four}
    weights: dict[str, list[torch.Tensor]] = {name: [] for name in four}

    class Keeping(Planted):
        def __call__(self, network: Any) -> TestResult:
            steps[network.origin].append(network.steps)
            weights[network.origin].append(flat(network))
            return super().__call__(network)

    drive(stage_of(Keeping(four), *"abcd", epochs=2), Memory())
    assert steps == {"a": [4, 8], "b": [4, 8], "c": [4], "d": [4]}
    new = flat(build(Finalist("a", cell_of("skip_connect", 1))))
    once, twice = weights["a"]
    assert torch.equal(once, weights["c"][0])  # the same cell, images and random numbers
    assert 0 < (twice - once).norm() < (twice - new).norm()


def flat(network: torch.nn.Module) -> torch.Tensor:
    """All weights, without running statistics, as one vector."""
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])


def test_networks_are_judged_by_the_statistics_of_their_last_weights() -> None:
    """Those of the stem over the batches of the last epoch, not a running mean of them."""
    batches = small.FewBatches(3)
    seen = 0

    class Looking(Planted):
        def __call__(self, network: Any) -> TestResult:
            nonlocal seen
            convolution, norm = network.body.stem.conv
            maps = [convolution(item.images) for item in batches.items]
            mean = torch.stack([x.mean((0, 2, 3)) for x in maps]).mean(0)
            variance = torch.stack([x.var((0, 2, 3)) for x in maps]).mean(0)
            torch.testing.assert_close(norm.running_mean, mean)
            torch.testing.assert_close(norm.running_var, variance)
            assert norm.momentum == 0.1
            seen += 1
            return super().__call__(network)

    drive(stage_of(Looking({"a": 0.4, "b": 0.3}), *"ab", epochs=2, batches=batches), Memory())
    assert seen == 2


@pytest.mark.parametrize("stop", range(0, 16, 3))
def test_a_stage_that_was_stopped_anywhere_ends_the_same(stop: int) -> None:
    accuracies = {"a": 0.1, "b": 0.4, "c": 0.3, "d": 0.2}
    whole, torn = Memory(), Memory()
    first = stage_of(Planted(accuracies), *"abcd", epochs=2)
    drive(first, whole)
    with pytest.raises(Interrupted):
        drive(stage_of(Planted(accuracies), *"abcd", epochs=2), torn, SignalAfter(stop))
    again = stage_of(Planted(accuracies), *"abcd", epochs=2)
    drive(again, torn)
    assert again.winner == first.winner
    for one, other in zip(whole.rows, torn.rows, strict=True):
        assert {k: v for k, v in one.items() if "seconds" not in k} == {
            k: v for k, v in other.items() if "seconds" not in k
        }
    for index, network in first.networks.items():
        for one, other in zip(
            network.state_dict().values(), again.networks[index].state_dict().values(), strict=True
        ):
            assert torch.equal(one, other)
