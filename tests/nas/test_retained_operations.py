"""Operations whose annealed weight has underflown to zero leave the topology search."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from dots.common.seeding import seed_step
from dots.data.batch import Batch
from dots.nas.topology import make_topology
from dots.nas.topology_search import TopologyStage, topology_record
from dots.networks.supernet import Active, Supernet
from dots.space.search_space import Candidates, darts_space
from helpers import small
from helpers.contracts import same
from helpers.stages import topology_settings

SPACE = darts_space(nodes=2)
FAST = pytest.mark.parametrize("fast", [False, True])
NAMES = ("skip_connect", "sep_conv_3x3", "dil_conv_3x3")
ZERO_TOO = ("none", "sep_conv_3x3")


def _stage(names: tuple[str, ...] = NAMES, *, fast: bool = True, **changes: Any) -> TopologyStage:
    """At T = 1, so that the gates have a thousandth; without steps taken."""
    candidates: Candidates = dict.fromkeys(SPACE.kinds, (names,) * len(SPACE.cell.edges))
    topology = make_topology(
        SPACE, parameterisation="combinations", edges="pairs", normalise=True, threshold=0.5
    )
    torch.manual_seed(0)
    net = Supernet(SPACE, small.SHAPE, candidates, fast=fast)
    settings = topology_settings(
        **({"epochs": 3, "t_start": 1.0, "t_end": 0.5, "arch_lr": 1e-3} | changes)
    )
    batches: Any = small.FewBatches()
    return TopologyStage(SPACE, candidates, topology, net, settings, small.engine(), batches)


def _set(stage: TopologyStage, *row: float) -> None:
    """The same α' on every edge."""
    with torch.no_grad():
        for alpha in stage.gates.alpha.values():
            alpha.copy_(torch.tensor(row).expand_as(alpha))


def _drive(stage: TopologyStage, epochs: range, start: int = 0, stop: int = 3) -> None:
    """As the loop does; the first epoch from the step `start` on, the last up to `stop`."""
    for epoch in epochs:
        first = start if epoch == epochs[0] else 0
        if first == 0:
            stage.begin_epoch(epoch)
        stage.set_epoch(epoch)
        for step, pair in enumerate(stage.batches(epoch, first), start=first):
            if epoch == epochs[-1] and step == stop:
                return
            seed_step(0, "topology", epoch, step)
            stage.step(epoch, step, pair)


def _everywhere(*row: bool) -> dict[str, Active]:
    return dict.fromkeys(SPACE.kinds, (row,) * len(SPACE.cell.edges))


@FAST
def test_a_removed_operation_does_not_run(fast: bool) -> None:
    stage = _stage(fast=fast)
    _set(stage, 0.001, 0.0, -0.3)
    calls: Counter[str] = Counter()
    for name, module in stage.supernet.named_modules():
        if name.split(".")[-2:-1] == ["operations"]:
            module.register_forward_hook(lambda *_, name=name: calls.update([name[-1]]))
    _drive(stage, range(1))
    assert stage.gates.active == _everywhere(True, True, False)
    assert calls == {"0": 5 * 3 * 3, "1": 5 * 3 * 3}  # edges, cells, steps


def test_nothing_is_removed_before_its_weight_is_exactly_zero() -> None:
    stage = _stage()
    _set(stage, 0.0, -0.05, -0.1)  # exp(-100) is a subnormal float32
    stage.begin_epoch(0)
    assert stage.gates.active == {}
    assert (stage.gates.weights("normal", 1e-3) > 0).all()


@pytest.mark.parametrize("joint", [True, False])
def test_removed_operations_keep_their_alpha(joint: bool) -> None:
    """Neither its gradient nor weight decay nor Adam's memory of earlier ones moves it."""
    stage = _stage(arch_weight_decay=0.1)
    _drive(stage, range(1))  # Adam remembers gradients now
    _set(stage, 0.001, 0.0, -0.3)
    if not joint:
        stage.held_out = small.FewBatches(2)  # type: ignore[assignment]
    _drive(stage, range(1, 2))
    for alpha in stage.gates.alpha.values():
        assert torch.equal(alpha[:, 2], torch.full_like(alpha[:, 2], -0.3))
    moved = stage.gates.alpha["normal"].detach()[:, :2] - torch.tensor([0.001, 0.0])
    assert (moved != 0).all()


def test_the_last_operation_of_an_edge_keeps_its_alpha_too() -> None:
    stage = _stage(arch_weight_decay=0.1)
    _set(stage, 0.3, 0.0, -0.3)
    before = [alpha.detach().clone() for alpha in stage.gates.alpha.values()]
    beta = [p.detach().clone() for p in stage.topology.parameters()]
    _drive(stage, range(2))
    assert stage.gates.active == _everywhere(True, False, False)
    for old, alpha in zip(before, stage.gates.alpha.values(), strict=True):
        assert torch.equal(old, alpha)
    assert any(
        not torch.equal(a, b) for a, b in zip(beta, stage.topology.parameters(), strict=True)
    )


@FAST
def test_values_and_gradients_are_those_with_a_weight_of_zero(fast: bool) -> None:
    with_it, without = _stage(fast=fast), _stage(fast=fast)
    for stage in (with_it, without):
        _set(stage, 0.001, 0.0, -0.3)
        stage.set_epoch(0)
    without.begin_epoch(0)
    results = []
    for stage in (with_it, without):
        loss, logits = stage._objective(small.batch())
        parameters = [*stage.supernet.parameters(), *stage.architecture]
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        results.append((loss, logits, gradients))
    torch.testing.assert_close(results[0][:2], results[1][:2], rtol=1e-6, atol=1e-6)
    absent = 0
    for all_of_them, fewer in zip(results[0][2], results[1][2], strict=True):
        if fewer is None:
            absent += int(all_of_them is not None)
            assert all_of_them is None or not all_of_them.any()
        else:
            torch.testing.assert_close(fewer, all_of_them, rtol=1e-5, atol=1e-6)
    assert absent == 5 * 3 * 2  # the two convolutions of the third operation, in each cell


class DoubleBatches(small.FewBatches):
    """The same few batches in float64."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for item in super().epoch(epoch, start):
            yield Batch(item.images.double(), item.labels, item.total)


def test_the_plain_kernels_remove_the_same() -> None:
    """In float64, where Adam does not blow up the rounding of gradients that are nearly zero."""
    stages = [_stage(fast=fast) for fast in (False, True)]
    for stage in stages:
        for module in (stage.supernet, stage.topology, stage.gates):
            module.double()
        stage.own_batches = DoubleBatches()  # type: ignore[assignment]
        _set(stage, 0.02, 0.0, -0.72)  # exp(-745) is the least float64 above zero
        _drive(stage, range(3))
    plain, fast = stages
    assert plain.gates.active == fast.gates.active == _everywhere(True, True, False)
    for a, b in zip(plain.architecture, fast.architecture, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


@pytest.mark.parametrize("stop", [1, 3])
def test_a_resumed_search_goes_on_with_the_same_operations(stop: int) -> None:
    """Interrupted within the epoch after the removal, or at its end."""
    whole, first, second = _stage(), _stage(), _stage()
    for stage in (whole, first):
        _set(stage, 0.02, 0.0, -0.105)
    _drive(whole, range(3))
    _drive(first, range(2), stop=stop)
    second.load_state(copy.deepcopy(first.state()))
    assert second.gates.active == first.gates.active != {}
    epoch, start = (1, 1) if stop == 1 else (2, 0)
    _drive(second, range(epoch, 3), start)
    assert same(second.state(), whole.state())
    assert second.gates.active == whole.gates.active


def test_a_checkpoint_without_removed_operations_can_be_continued() -> None:
    state = _stage().state()
    state["gates"] = {k: v for k, v in state["gates"].items() if not k.startswith("removed")}
    stage = _stage()
    stage.load_state(state)
    assert stage.gates.active == {}


def test_a_removed_operation_is_not_chosen_wherever_the_others_move() -> None:
    stage = _stage()
    _set(stage, 0.3, 0.299, 0.0)
    stage.begin_epoch(0)
    _set(stage, -0.5, -0.4, 0.0)
    genotype = stage.genotype()
    assert {e.op for cell in genotype.cells.values() for node in cell.nodes for e in node} == {
        "sep_conv_3x3"
    }
    record = topology_record(stage, stage.settings).to_json()
    assert set(record["operations"]["normal"]) == {"sep_conv_3x3"}
    assert all(row[2] < -0.5 for row in record["alpha"]["normal"])


def test_where_zero_wins_no_operation_runs_and_the_cell_has_the_best_other() -> None:
    stage = _stage(ZERO_TOO)
    _set(stage, 0.3, 0.0)
    _drive(stage, range(1))
    assert stage.gates.active == _everywhere(True, False)
    real = stage.gates.weights("normal", 1e-3, real=True)
    assert torch.equal(real[:, 1], torch.ones(5))
    assert stage.genotype().cells["normal"].nodes[0][0].op == "sep_conv_3x3"


def _gradient_of_real_weights(stage: TopologyStage) -> Tensor:
    kind = "normal"
    picked = stage.gates.weights(kind, 1.0, real=True)[:, 0].sum()
    (gradient,) = torch.autograd.grad(picked, [stage.gates.alpha[kind]])
    return gradient


def test_a_budget_gives_removed_operations_no_gradient() -> None:
    stage = _stage()
    _set(stage, 0.001, 0.0, -0.3)
    assert _gradient_of_real_weights(stage)[:, 2].any()
    stage.begin_epoch(0)
    gradient = _gradient_of_real_weights(stage)
    assert gradient[:, :2].any()
    assert not gradient[:, 2].any()
    _set(both := _stage(("none", "sep_conv_3x3", "dil_conv_3x3")), 0.3, 0.0, 0.0)
    both.begin_epoch(0)
    real = both.gates.weights("normal", 1.0, real=True)
    torch.testing.assert_close(real[:, 1:], torch.full((5, 2), 0.5))
