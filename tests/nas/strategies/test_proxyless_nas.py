"""ProxylessNAS: the gradient of its gates, the paths it samples, rescaling, the costs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dots.common.errors import UserError
from dots.data.batch import Batch
from dots.nas.strategies.proxyless_nas import ProxylessNas, rescale
from dots.nas.strategies.shared.expected_operations import expected_network
from dots.space.search_space import darts_space
from helpers import contracts, searches, small

OPS = 8
SMALL = darts_space(1)


def proxyless(**changes: object) -> ProxylessNas:
    """A search whose α is far from uniform."""
    search = searches.search(ProxylessNas, fast=False, **changes)
    for index, alpha in enumerate(search.alpha.values()):
        alpha.data = torch.randn(alpha.shape, generator=torch.Generator().manual_seed(index))
    return search


@pytest.mark.parametrize("paths", ["two", "all"])
def test_the_gradient_of_alpha_is_that_of_the_gates(paths: str) -> None:
    """∂L/∂α_i = Σ_j ∂L/∂g_j · q_j (δ_ij - q_i), with ∂L/∂g_j by differences of the loss."""
    search = proxyless(space=SMALL, method={"paths": paths})
    search.supernet.double()
    search.alpha.double()
    batch = Batch(small.batch().images.double(), small.batch().labels, 6)
    mixtures = search.mixtures("architecture")

    def loss() -> torch.Tensor:
        logits = search.supernet(batch.images, mixtures)
        return search.engine.cross_entropy(logits, batch.labels)

    by_autograd = torch.autograd.grad(loss(), list(search.alpha.values()))
    step = 1e-6
    for (kind, mixture), found in zip(list(mixtures.items()), by_autograd, strict=True):
        sampled = torch.tensor(mixture.active)
        assert (sampled.sum(1) == (2 if paths == "two" else OPS)).all()
        gates = torch.zeros_like(found)
        for edge, op in torch.nonzero(sampled).tolist():
            sides = []
            for shift in (step, -step):
                moved = mixture.operations.detach().clone()
                moved[edge, op] += shift
                mixtures[kind] = replace(mixture, operations=moved)
                sides.append(float(loss().detach()))
            mixtures[kind] = mixture
            gates[edge, op] = (sides[0] - sides[1]) / (2 * step)
        q = search.alpha[kind].detach().exp() * sampled
        q = q / q.sum(1, keepdim=True)
        jacobian = torch.diag_embed(q) - q[:, :, None] * q[:, None, :]
        by_hand = (gates[:, None, :] @ jacobian).squeeze(1)
        torch.testing.assert_close(found, by_hand, rtol=1e-4, atol=1e-8)
        assert by_hand.any()


def test_one_of_the_two_paths_is_open_and_both_run() -> None:
    search = proxyless()
    for kind, mixture in search.mixtures("architecture").items():
        active = torch.tensor(mixture.active)
        gates = mixture.operations.detach()
        assert (active.sum(1) == 2).all()
        assert torch.equal(gates.sum(1), torch.ones(searches.EDGES))
        assert set(gates.unique().tolist()) == {0.0, 1.0}
        assert not (gates.bool() & ~active).any()
        assert search.alpha[kind].requires_grad


def test_paths_are_drawn_by_p_and_opened_by_q() -> None:
    """Two operations without replacement; of the pair, each is open as q says."""
    search = proxyless()
    alpha = search.alpha["normal"].detach()
    p = alpha[0].softmax(0)
    torch.manual_seed(0)
    draws = 4000
    single, pairs, opened = torch.zeros(OPS), torch.zeros(OPS, OPS), torch.zeros(OPS, OPS)
    for _ in range(draws // searches.EDGES):
        search.alpha["normal"].data = alpha[:1].expand_as(alpha).clone()
        search.draw_noise()
        single += search.mixtures("weights")["normal"].operations.sum(0).detach()
        mixture = search.mixtures("architecture")["normal"]
        for row, gates in zip(mixture.active, mixture.operations.tolist(), strict=True):  # type: ignore[arg-type]
            a, b = (place for place, runs in enumerate(row) if runs)
            pairs[a, b] += 1
            opened[a, b] += gates[a]
    assert float((single / draws - p).abs().max()) < 0.03
    for a in range(OPS):
        for b in range(a + 1, OPS):
            expected = float(p[a] * p[b] / (1 - p[a]) + p[b] * p[a] / (1 - p[b]))
            count = float(pairs[a, b])
            assert count / draws == pytest.approx(expected, abs=0.03)
            if count > 300:
                share = float(opened[a, b]) / count
                assert share == pytest.approx(float(p[a] / (p[a] + p[b])), abs=0.09)


@given(data=st.data())
@settings(deadline=None, max_examples=50)
def test_rescaling_keeps_the_probabilities_of_what_was_not_sampled(data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 10_000))
    generator = torch.Generator().manual_seed(seed)
    columns = data.draw(st.integers(2, 9))
    before = 3 * torch.randn(4, columns, generator=generator, dtype=torch.float64)
    sampled = torch.zeros(4, columns, dtype=torch.bool)
    order = torch.rand(4, columns, generator=generator).argsort(1)
    sampled.scatter_(1, order[:, :2], True)
    after = before + torch.randn(4, columns, generator=generator, dtype=torch.float64)
    moved = after.clone()
    rescale(moved, before, sampled)
    old, new = before.softmax(1), moved.softmax(1)
    torch.testing.assert_close(new[~sampled], old[~sampled])
    # Between the two sampled ones the step is what it was.
    odds, kept = after[sampled].view(4, 2).diff(), moved[sampled].view(4, 2).diff()
    torch.testing.assert_close(odds, kept)


def test_a_step_of_alpha_leaves_the_probabilities_of_the_others() -> None:
    search = proxyless(arch_lr=0.5)
    for step in range(3):
        torch.manual_seed(step)
        search.draw_noise()
        sampled = search.sampled()
        before = {kind: alpha.detach().softmax(1) for kind, alpha in search.alpha.items()}
        search.architecture_step(small.batch(seed=step))
        for kind, alpha in search.alpha.items():
            others = ~sampled[kind]
            after = alpha.detach().softmax(1)
            torch.testing.assert_close(after[others], before[kind][others])
            assert not torch.equal(after, before[kind])


def test_weights_that_did_not_run_neither_decay_nor_coast() -> None:
    search = proxyless(weight_decay=0.1)
    for step in range(4):
        torch.manual_seed(step)
        before = {p: p.detach().clone() for p in search.supernet.parameters()}
        with contracts.counted(search) as calls:
            search.step(0, small.batch(seed=step), None)
        for *_, module in contracts.operation_modules(search):
            for parameter in module.parameters():
                stays = torch.equal(parameter, before[parameter])
                assert stays == (not calls[module])


def test_alpha_takes_one_step_for_five_of_w() -> None:
    search, moved = proxyless(space=SMALL), []
    search.step(0, small.batch(), None)  # of w alone: does not count
    for step in range(11):
        before = contracts.copied(search.architecture_parameters())
        search.step(0, small.batch(seed=step), small.batch(seed=50 + step))
        after = contracts.copied(search.architecture_parameters())
        moved.append(not contracts.same(before, after))
    assert [step for step, each in enumerate(moved) if each] == [0, 5, 10]


def test_adam_has_no_momentum_and_no_decay_whatever_the_recipe_says() -> None:
    search = proxyless(arch_betas=(0.5, 0.99), arch_weight_decay=0.1, arch_lr=0.02)
    group = search.architecture_optimiser.adam.param_groups[0]
    assert group["betas"] == (0.0, 0.99)
    assert group["weight_decay"] == 0.0
    assert group["lr"] == 0.02


def test_labels_are_smoothed_in_the_step_of_w_alone() -> None:
    search = proxyless()
    logits, labels = torch.randn(4, 5), torch.tensor([0, 1, 2, 3])
    smooth = 0.9 * torch.nn.functional.one_hot(labels, 5) + 0.02
    expected = -(smooth * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(search.weight_loss(logits, labels), expected)
    plain = search.engine.cross_entropy(logits, labels)
    assert search.architecture_loss(plain, {}) is plain


@pytest.mark.parametrize("form", ["add", "multiply"])
@pytest.mark.parametrize("reference", [None, 5e5])
def test_the_cost_enters_the_loss_as_published(form: str, reference: float | None) -> None:
    own = {"resource": "multiply-adds", "resource_form": form}
    if reference is not None:
        own["reference"] = reference
    search = proxyless(method=own)
    p = {kind: alpha.detach().softmax(1) for kind, alpha in search.alpha.items()}
    cost = float(expected_network(search.context.space, search.costs, search.rest, p))
    aim = search.reference
    if reference is None:  # that of the start: α was nearly uniform
        even = {kind: torch.full_like(row, 1 / OPS) for kind, row in p.items()}
        uniform = float(expected_network(search.context.space, search.costs, search.rest, even))
        assert aim == pytest.approx(uniform, rel=5e-3)
    else:
        assert aim == reference
    loss = search.architecture_loss(torch.tensor(2.0), {})
    if form == "add":
        expected = 2.0 + 0.1 * (cost - aim) / aim
    else:
        expected = 0.2 * 2.0 * (math.log(cost) / math.log(aim)) ** 0.3
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert all(alpha.grad is not None and alpha.grad.any() for alpha in search.alpha.values())


def test_a_heavy_cost_makes_for_cheap_operations() -> None:
    own = {"resource": "parameters", "resource_weight": 1e3, "weight_steps": 1}
    search = searches.search(ProxylessNas, SMALL, method=own, arch_lr=0.3, fast=False)
    first = float(search.expected_cost().detach())
    for step in range(25):
        torch.manual_seed(step)
        search.step(0, small.batch(seed=step), small.batch(seed=step))
    assert float(search.expected_cost().detach()) < 0.7 * first


def test_measured_latencies_and_the_reference_go_with_the_state() -> None:
    space = darts_space(1, ("none", "skip_connect", "sep_conv_3x3"))
    first, second = (
        searches.search(ProxylessNas, space, method={"resource": "latency"}) for _ in range(2)
    )
    assert all((table[:, 2] > 0).all() for table in first.costs.values())
    second.load_state(first.state())
    assert second.reference == first.reference
    assert contracts.same(dict(first.costs), dict(second.costs))


def test_evaluation_normalises_by_the_batch_and_takes_the_most_probable_path() -> None:
    search = proxyless()
    images = small.batch().images
    mixtures = search.mixtures("evaluation")
    for kind, mixture in mixtures.items():
        assert mixture.operations.argmax(1).tolist() == search.alpha[kind].argmax(1).tolist()
        expected = search.alpha[kind].detach().softmax(1)
        torch.testing.assert_close(torch.tensor(search.scores()[kind]), expected)
    found = search.evaluate(images)
    with torch.no_grad():
        torch.testing.assert_close(search.supernet(images, mixtures), found)  # training mode


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(UserError, match="proxyless-nas uses Nesterov"):
        searches.search(ProxylessNas, momentum=0.0)
