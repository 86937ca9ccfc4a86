"""β-decay: its value, its gradient in every method, its schedule, and who may not have it."""

from __future__ import annotations

import pytest
import torch

from dots.common.errors import UserError
from dots.nas.plan import make_plan
from dots.nas.strategies import STRATEGIES
from dots.nas.strategies.asap import Asap
from dots.nas.strategies.base import GradientSearch
from dots.nas.strategies.beta_darts import BetaDarts
from dots.nas.strategies.darts import Darts
from dots.recipe import build_recipe
from helpers import contracts, searches, small

LEARNING = [name for name, cls in STRATEGIES.items() if issubclass(cls, GradientSearch)]


def decay_gradients(search: GradientSearch, weight: float) -> dict[str, torch.Tensor]:
    """What β-decay adds to the gradient of each α."""
    search.beta_decay = weight
    total = search.regularised(torch.zeros((), requires_grad=True))
    assert float(total.detach()) == 0.0, "the record keeps the loss of the images"
    alphas = list(search.alpha.values())
    found = torch.autograd.grad(total, alphas)
    return dict(zip(search.alpha, found, strict=True))


@pytest.mark.parametrize("name", LEARNING)
def test_in_any_method_its_gradient_is_the_softmax_of_alpha_over_the_edges(name: str) -> None:
    search = contracts.build(name, precision="64")
    assert isinstance(search, GradientSearch)
    generator = torch.Generator().manual_seed(0)
    for alpha in search.alpha.values():
        alpha.data = torch.randn(alpha.shape, generator=generator, dtype=torch.float64)
    edges = sum(len(alpha) for alpha in search.alpha.values())
    tables = dict(zip(search.alpha, search.logits(), strict=True))
    for kind, gradient in decay_gradients(search, 3.0).items():
        torch.testing.assert_close(gradient, 3.0 * tables[kind].detach().softmax(1) / edges)


def test_the_step_of_alpha_has_the_loss_and_the_decay_by_hand() -> None:
    search = searches.search(BetaDarts, precision="64")
    row = torch.tensor([0.0, 1.0, 2.0, -1.0, 0.5, 0.0, 3.0, -2.0], dtype=torch.float64)
    for alpha in search.alpha.values():
        alpha.data = row.repeat(searches.EDGES, 1)
    by_hand = torch.log(torch.exp(row).sum())
    search.beta_decay = 2.0
    value = search.beta_decay * torch.cat([t.logsumexp(1) for t in search.logits()]).mean()
    assert float(value.detach()) == pytest.approx(2.0 * float(by_hand), rel=1e-12)
    batch = small.batch(seed=3)
    plain, decayed = [], []
    for weight, into in ((0.0, plain), (2.0, decayed)):
        search.beta_decay = weight
        search.architecture_optimiser.apply = lambda: None  # type: ignore[method-assign]
        search.architecture_step(batch)
        into += [alpha.grad.clone() for alpha in search.alpha.values() if alpha.grad is not None]
    for without, with_decay in zip(plain, decayed, strict=True):
        expected = without + 2.0 * row.softmax(0) / (2 * searches.EDGES)
        torch.testing.assert_close(with_decay, expected, rtol=1e-9, atol=1e-12)


def test_its_weight_rises_in_a_line_over_the_real_length_and_w_does_not_see_it() -> None:
    published = searches.search(BetaDarts, epochs=100)
    seen = []
    for epoch in (0, 1, 50, 99):
        published.set_epoch(epoch)
        seen.append(published.beta_decay)
    assert seen == pytest.approx([0, 0.5, 25, 49.5])
    short = searches.search(Darts, epochs=4, beta_decay=8.0)
    short.set_epoch(3)
    assert short.beta_decay == pytest.approx(6.0)
    twin = searches.search(Darts, epochs=4)
    for search in (short, twin):
        search.set_epoch(3)
        search.weight_step(small.batch())
    assert contracts.same(
        contracts.copied(list(short.supernet.parameters())),
        contracts.copied(list(twin.supernet.parameters())),
    )


def test_it_is_darts_with_a_setting_which_a_recipe_can_change() -> None:
    assert searches.search(BetaDarts).settings.beta_decay == 50
    assert searches.search(BetaDarts, beta_decay=7.0).settings.beta_decay == 7
    assert searches.search(Darts).settings.beta_decay is None
    changes = {"space": contracts.SMALL, "epochs": 2, "fast": False}
    ours = contracts.run(searches.search(BetaDarts, **changes), steps=1)
    theirs = contracts.run(searches.search(Darts, **changes, beta_decay=50.0), steps=1)
    assert ours.scores() == theirs.scores()
    assert ours.scores() != contracts.run(searches.search(Darts, **changes), steps=1).scores()


def test_with_groups_each_softmax_counts_and_with_pruning_what_is_left() -> None:
    search = searches.search(Darts)
    columns = ((0, 1, 2, 3), (4, 5, 6, 7))
    names = search.context.space.operations
    groups = tuple(tuple(names[column] for column in group) for group in columns)
    object.__setattr__(search.context, "groups", groups)
    gradient = decay_gradients(search, 1.0)["normal"]
    mixture = search.mixtures("evaluation")["normal"].operations.detach()
    torch.testing.assert_close(gradient, mixture / (2 * searches.EDGES))
    pruned = searches.search(Asap, epochs=50)
    kept = {kind: mask.clone() for kind, mask in pruned.pruning.kept.items()}
    for mask in kept.values():
        mask[:, :6] = False
    pruned.pruning.prune(kept, pruned.operation_weights("evaluation"))
    gradient = decay_gradients(pruned, 1.0)["reduce"]
    assert not gradient[:, :6].any()
    assert (gradient[:, 6:] > 0).all()


@pytest.mark.parametrize("name", ["random", "shapley-nas", "is-darts"])
def test_without_a_gradient_of_alpha_it_is_refused(name: str) -> None:
    words = [f"strategy={name}", "operations.beta_decay=1"]
    with pytest.raises(UserError, match=f"'{name}' takes none"):
        make_plan(build_recipe("tiny", overrides=words))
    make_plan(build_recipe("tiny", overrides=[f"strategy={name}", "operations.beta_decay=0"]))
