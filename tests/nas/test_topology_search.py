"""The topology search: Eq. (10), annealing (Eq. 9), planted truth, resume."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch

from dots.common.seeding import seed_step
from dots.nas.topology import make_topology
from dots.nas.topology_search import TopologyStage
from dots.networks.body import Shape
from dots.networks.supernet import Supernet
from dots.space.edge_combinations import EdgeChoice
from dots.space.genotype import Genotype
from dots.space.search_space import darts_space
from helpers import small
from helpers.planted import Colours, NoisyEdge
from helpers.stages import SPACE, candidates_of, topology_settings


def _stage(
    names: tuple[str, ...] = ("skip_connect", "sep_conv_3x3"),
    edges: EdgeChoice = "pairs",
    batches: Any = None,
    held_out: Any = None,
    weight_batches: Any = None,
    **changes: Any,
) -> TopologyStage:
    candidates = candidates_of(SPACE, names)
    topology = make_topology(
        SPACE, parameterisation="combinations", edges=edges, normalise=True, threshold=0.5
    )
    torch.manual_seed(0)
    net = Supernet(SPACE, small.SHAPE, candidates)
    return TopologyStage(
        SPACE,
        candidates,
        topology,
        net,
        topology_settings(**changes),
        small.engine(),
        batches or small.FewBatches(),
        held_out,
        weight_batches=weight_batches,
    )


def _drive(stage: TopologyStage, epochs: range | None = None) -> None:
    for epoch in epochs or range(stage.epochs):
        stage.set_epoch(epoch)
        for step, pair in enumerate(stage.batches(epoch, 0)):
            seed_step(0, "topology", epoch, step)
            stage.step(epoch, step, pair)


def test_one_step_moves_w_and_beta_from_one_gradient_at_the_old_point() -> None:
    """Eq. 10, with plain SGD for w and Adam's first step (±lr) for β."""
    stage, twin = (_without_decay(_stage(momentum=0.0, clip=None, arch_lr=0.01)) for _ in range(2))
    batch = small.batch()
    for each in (stage, twin):
        each.set_epoch(0)
    loss, _ = twin._objective(batch)
    weights, outside = list(twin.supernet.parameters()), twin.architecture
    gradients = torch.autograd.grad(loss, [*weights, *outside], allow_unused=True)
    before = [p.detach().clone() for p in [*weights, *outside]]
    stage.step(0, 0, (batch, None))
    after = [*stage.supernet.parameters(), *stage.architecture]
    moved = 0
    for old, new, gradient in zip(before, after, gradients, strict=True):
        if gradient is None:
            continue
        if any(new is p for p in stage.architecture):
            step = 0.01 * gradient / (gradient.abs() + 1e-8)  # Adam's first step
            tolerance = {"rtol": 1e-3, "atol": 1e-5}
            moved += int(gradient.abs().sum() > 0)
        else:
            step, tolerance = stage.lr * gradient, {"rtol": 1e-5, "atol": 1e-7}
        torch.testing.assert_close(new.detach(), old - step, **tolerance)
    assert moved > 0


def _without_decay(stage: TopologyStage) -> TopologyStage:
    for optimiser in (stage.weight_optimiser.sgd, stage.architecture_optimiser.adam):
        for group in optimiser.param_groups:
            group["weight_decay"] = 0.0
    return stage


def test_weight_only_epochs_leave_the_architecture() -> None:
    stage = _stage(weight_epochs=1)
    _drive(stage, range(1))
    assert not any(p.detach().any() for p in stage.architecture)
    _drive(stage, range(1, 2))
    assert any(p.detach().any() for p in stage.architecture)


@pytest.mark.parametrize("anneal", ["step", "epoch"])
def test_weight_only_epochs_may_have_batches_of_their_own(anneal: str) -> None:
    """Half A in the authors' release; afterwards all images, over which the annealing counts."""
    everything, half = small.FewBatches(4), small.FewBatches(2)
    settings = {"epochs": 4, "weight_epochs": 2, "anneal": anneal}
    stage = _stage(batches=everything, weight_batches=half, **settings)
    usual = _stage(batches=everything, **settings)
    for epoch in range(4):
        stage.set_epoch(epoch)
        own = (half if epoch < 2 else everything).items
        assert stage.steps == len(own)
        assert [batch for batch, _ in stage.batches(epoch, 1)] == own[1:]
        for step in range(len(own)):
            assert stage.temperature_at(epoch, step) == usual.temperature_at(epoch, step)
    usual.set_epoch(0)
    assert usual.steps == 4


@pytest.mark.parametrize("anneal", ["step", "epoch"])
def test_the_temperature_falls_geometrically_to_its_end(anneal: str) -> None:
    stage = _stage(epochs=4, weight_epochs=1, anneal=anneal)
    heats = [stage.temperature_at(epoch, step) for epoch in range(1, 4) for step in range(3)]
    assert heats[0] == 10
    assert heats[-1] == pytest.approx(0.02)
    ratios = {round(b / a, 9) for a, b in itertools.pairwise(heats)}
    if anneal == "step":
        assert ratios == {round((0.02 / 10) ** (1 / 8), 9)}
    else:
        assert ratios == {1.0, round((0.02 / 10) ** (1 / 2), 9)}
    assert stage.temperature_at(0, 2) == 1.0


@pytest.mark.parametrize("edges", ["pairs", "any"])
def test_annealing_sharpens_what_beta_prefers(edges: EdgeChoice) -> None:
    """A preference of 1 is nearly uniform at T = 10 and one-hot at T = 0.02.

    The search moves it by less than 0.12: each of 18 steps of Adam moves a number by at most
    lr (1 - β₁) / √(1 - β₂) = 3.2 lr.
    """
    stage = _stage(edges=edges, arch_lr=0.001, epochs=6)
    preferred = {
        kind: [_prefer(beta) for _, beta in stage.topology.nodes(kind)] for kind in SPACE.kinds
    }
    with torch.no_grad():
        for gate in stage.gates.alpha.values():
            gate[:, 1] = 1.0
    stage.set_epoch(0)
    for row in itertools.chain(*stage.snapshot(0)["beta"].values()):
        assert max(row) < 1.11 / len(row)  # e^(1 / 10) = 1.105 times the others
    _drive(stage)
    last = stage.snapshot(5)
    for kind in SPACE.kinds:
        assert all(row[1] > 0.999 for row in last["alpha"][kind])
        for row, choice in zip(last["beta"][kind], preferred[kind], strict=True):
            assert row[choice] > 0.999


@torch.no_grad()
def _prefer(beta: torch.Tensor) -> int:
    """The last combination but one, where there are two."""
    choice = max(len(beta) - 2, 0)
    beta[choice] = 1.0
    return choice


def test_the_gates_are_colder_than_beta() -> None:
    """T_alpha = T_beta / 1000 (Sec. 4.2.2): a difference that β ignores decides the gates."""
    stage = _stage()
    with torch.no_grad():
        for gate in stage.gates.alpha.values():
            gate[:, 1] = 0.1
    stage.temperature = 10.0
    weights = stage.mixtures()["normal"].operations
    torch.testing.assert_close(weights[0], torch.softmax(torch.tensor([0.0, 0.1]) / 0.01, dim=0))


def test_held_out_images_train_the_architecture_alone() -> None:
    stage = _stage(held_out=small.FewBatches(2))
    weights = [p.detach().clone() for p in stage.supernet.parameters()]
    stage.set_epoch(0)
    pair = next(stage.batches(0, 0))
    assert pair[1] is not None
    stage.weight_optimiser.apply = lambda: None  # type: ignore[method-assign]
    stage.step(0, 0, pair)
    assert any(p.detach().any() for p in stage.architecture)
    for old, new in zip(weights, stage.supernet.parameters(), strict=True):
        torch.testing.assert_close(old, new.detach(), rtol=0, atol=0)


def test_the_mean_of_beta_is_that_of_the_steps_from_half_to_015() -> None:
    stage = _stage(epochs=6, arch_lr=0.05)
    assert stage.mean_beta() is None
    seen: list[list[torch.Tensor]] = []
    for epoch in range(stage.epochs):
        stage.set_epoch(epoch)
        for step, pair in enumerate(stage.batches(epoch, 0)):
            stage.step(epoch, step, pair)
            if 0.15 <= stage.temperature_at(epoch, step) <= 0.5:
                seen.append([beta.detach().clone() for beta in stage.topology.parameters()])
    assert 1 < len(seen) < 18
    means = [torch.stack(betas).mean(0) for betas in zip(*seen, strict=True)]
    stage.average()
    for beta, mean in zip(stage.topology.parameters(), means, strict=True):
        torch.testing.assert_close(beta.detach(), mean)
    table = stage.mean_beta()
    assert table is not None
    assert table["normal"][1] == pytest.approx(means[1].tolist())


def test_a_supernet_to_perturb_is_trained_under_uniform_weights() -> None:
    stage = _stage(select="perturbation")
    _drive(stage)
    assert not any(p.detach().any() for p in stage.architecture)
    assert stage.temperature_at(1, 2) == 1.0
    assert stage.genotype() == _stage().genotype()


def test_states_of_earlier_versions_have_no_sums_of_beta() -> None:
    stage = _stage()
    state = {k: v for k, v in stage.state().items() if not k.startswith("beta_")}
    stage.load_state(state)
    assert stage.mean_beta() is None


def test_zero_is_never_derived() -> None:
    stage = _stage(names=("none", "sep_conv_3x3"))
    with torch.no_grad():
        for gate in stage.gates.alpha.values():
            gate[:, 0] = 5.0
    genotype = stage.genotype()
    operations = {e.op for cell in genotype.cells.values() for node in cell.nodes for e in node}
    assert operations == {"sep_conv_3x3"}


def test_state_continues_bit_for_bit() -> None:
    whole = _stage(epochs=3)
    _drive(whole)
    first = _stage(epochs=3)
    _drive(first, range(2))
    state = copy.deepcopy(first.state())
    second = _stage(epochs=3)
    second.load_state(state)
    _drive(second, range(2, 3))
    assert second.genotype() == whole.genotype()
    for a, b in zip(second.architecture, whole.architecture, strict=True):
        assert torch.equal(a, b)
    for a, b in zip(second.supernet.parameters(), whole.supernet.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("seed", range(10))
def test_planted_edges_are_found(seed: int) -> None:
    """With noise on every edge of the last node but two, the search keeps those two."""
    space = darts_space(nodes=3)
    incoming = space.cell.incoming[-1]
    order = torch.randperm(len(incoming), generator=torch.Generator().manual_seed(seed))
    planted = frozenset(incoming[place] for place in order[:2].tolist())
    quiet = planted | frozenset(range(incoming[0]))  # the other nodes are left in peace
    candidates = candidates_of(space, ("skip_connect",))
    topology = make_topology(
        space, parameterisation="combinations", edges="pairs", normalise=True, threshold=0.5
    )
    torch.manual_seed(seed)
    net = Supernet(
        space,
        Shape(cells=1, channels=6, image_channels=3, classes=3),
        candidates,
        make_edge=lambda plan: NoisyEdge(plan, quiet),
    )
    settings = topology_settings(
        epochs=4, cells=1, channels=6, lr=0.05, arch_lr=0.1, arch_weight_decay=0.0
    )
    stage = TopologyStage(space, candidates, topology, net, settings, small.engine(), Colours())  # type: ignore[arg-type]
    _drive(stage)
    kind = net.body.plans[0].kind
    assert {e for e in topology.kept_edges(1.0)[kind] if e in incoming} == planted
    assert isinstance(stage.genotype(), Genotype)
