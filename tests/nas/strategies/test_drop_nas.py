"""DropNAS: what drops, what runs, the second decay step, the mass that is given back."""

from __future__ import annotations

import pytest
import torch

from dots.common.errors import UserError
from dots.nas.strategies.drop_nas import DropNas, draw_kept, log_odds
from dots.space.search_space import darts_space, named_space, nasbench201_space
from helpers import searches, small

OFTEN = {"drop_rate": 0.1}  # with four operations in a group each drops with 0.56
GROUPS = [[4, 5, 6, 7], [1, 2, 3, 0]]


def kept_share(alpha: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    mass = alpha.detach().exp()
    return (mass * kept).sum(1) / mass.sum(1)


def test_each_operation_drops_with_the_root_of_the_rate_and_no_group_is_empty() -> None:
    torch.manual_seed(0)
    kept = draw_kept(200_000, GROUPS, 3e-5)
    p = 3e-5 ** (1 / 4)  # about 0.074
    assert p == pytest.approx(0.074, abs=1e-3)
    assert (~kept).float().mean(0).tolist() == pytest.approx([p] * 8, abs=3e-3)
    often = draw_kept(20_000, GROUPS, 0.4)
    assert all(often[:, group].any(1).all() for group in GROUPS)
    # A group that would be empty is drawn again: p' = (p - p^4) / (1 - p^4).
    p = 0.4 ** (1 / 4)
    assert float((~often).float().mean()) == pytest.approx((p - p**4) / (1 - p**4), abs=0.01)


def test_one_softmax_over_both_groups_kept_operations() -> None:
    search = searches.search(DropNas, method=OFTEN)
    torch.manual_seed(3)
    search.step(0, small.batch(), None)
    for kind, mixture in search.mixtures("architecture").items():
        kept = search.kept[kind]
        mass = search.alpha[kind].detach().exp() * kept
        assert torch.allclose(mixture.operations, mass / mass.sum(1, keepdim=True))
        assert torch.equal(torch.tensor(mixture.active), kept)
        assert not kept.all()


def test_dropped_operations_do_not_run() -> None:
    search = searches.search(DropNas, method=OFTEN)
    calls: dict[tuple[str, int, int], int] = {}
    for cell in search.supernet.body.cells:
        for edge, module in enumerate(cell.edges):
            for column, operation in enumerate(module.operations):
                key = (cell.kind, edge, column)
                operation.register_forward_hook(
                    lambda *_, key=key: calls.update({key: calls.get(key, 0) + 1})
                )
    search.step(0, small.batch(), None)
    running = {kind: torch.zeros(searches.EDGES, 8, dtype=torch.bool) for kind in search.kept}
    for kind, edge, column in calls:
        running[kind][edge, column] = True
    for kind, kept in search.kept.items():
        kept = kept.clone()
        kept[:, 0] = False  # Zero never runs
        assert torch.equal(running[kind], kept)


def test_a_step_leaves_the_kept_operations_their_share_of_the_mass() -> None:
    search = searches.search(DropNas, method=OFTEN, arch_lr=0.3)
    for step in range(3):
        before = {kind: alpha.detach().clone() for kind, alpha in search.alpha.items()}
        torch.manual_seed(step)
        search.step(0, small.batch(seed=step), None)
        for kind, alpha in search.alpha.items():
            kept = search.kept[kind]
            share = kept_share(before[kind], kept)
            assert torch.allclose(kept_share(alpha, kept), share, atol=1e-5)
            assert not torch.allclose(alpha, before[kind], atol=0.05)


def test_log_odds_is_infinite_where_nothing_drops() -> None:
    alpha = torch.tensor([[0.5, -1.0, 2.0], [1.0, 1.0, 1.0]])
    kept = torch.tensor([[True, False, True], [True, True, True]])
    share = float(kept_share(alpha, kept)[0])
    odds = log_odds(alpha, kept).tolist()
    assert odds == pytest.approx([torch.logit(torch.tensor(share)).item(), torch.inf])


def test_the_decay_is_a_second_step_on_what_had_a_gradient() -> None:
    rate, decay = 0.05, 0.1
    plain, decayed = (
        searches.search(
            DropNas, method=OFTEN, momentum=0.0, clip=None, lr=rate, weight_decay=value,
            arch_weight_decay=0.0,
        )
        for value in (0.0, decay)
    )  # fmt: skip
    for search in (plain, decayed):
        torch.manual_seed(0)
        search.step(0, small.batch(), None)
    untouched = 0
    pairs = zip(plain.supernet.parameters(), decayed.supernet.parameters(), strict=True)
    for stepped, weight in pairs:
        if stepped.grad is None:
            untouched += 1
            assert torch.equal(weight, stepped)
        else:  # the gradient of λ·‖w‖² has no factor ½
            assert torch.allclose(weight, stepped - rate * 2 * decay * stepped, atol=1e-7)
    assert untouched > 0


def test_alpha_without_gradient_does_not_decay() -> None:
    search = searches.search(DropNas, method=OFTEN, arch_weight_decay=0.5)
    before = {kind: alpha.detach().clone() for kind, alpha in search.alpha.items()}
    torch.manual_seed(0)
    search.step(0, small.batch(), None)
    for kind, alpha in search.alpha.items():
        kept = search.kept[kind]
        assert torch.equal(alpha[~kept], before[kind][~kept])
        assert (alpha[kept] != before[kind][kept]).all()


def test_weight_epochs_leave_alpha_alone() -> None:
    search = searches.search(DropNas, weight_epochs=1)
    before = {kind: alpha.detach().clone() for kind, alpha in search.alpha.items()}
    weights = [weight.detach().clone() for weight in search.supernet.parameters()]
    search.step(0, small.batch(), None)
    assert all(torch.equal(alpha, before[kind]) for kind, alpha in search.alpha.items())
    after = list(search.supernet.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(after, weights, strict=True))
    assert not search.wants_architecture_batch(3)  # one level


def test_the_published_derivation_ranks_edges_by_alpha_itself() -> None:
    """The third edge into node 3 has the largest α, but of two that are alike."""
    for raw, sources in ((True, [1, 2]), (False, [0, 1])):
        search = searches.search(DropNas, method={"rank_by_alpha": raw})
        for alpha in search.alpha.values():
            alpha.data.zero_()
            alpha.data[2, 4], alpha.data[3, 4] = 2.0, 3.0
            alpha.data[4, 4], alpha.data[4, 5:] = 3.2, 3.1
        found = [edge.source for edge in search.derive().cells["normal"].nodes[1]]
        assert found == sources


def test_spaces_without_groups_are_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"'drop-nas' needs two groups.*'s4'"):
        searches.search(DropNas, named_space("s4", 2))
    lone = darts_space(2, ("skip_connect", "sep_conv_3x3", "sep_conv_7x7"))
    with pytest.raises(UserError, match="no group for the operation 'sep_conv_7x7'"):
        searches.search(DropNas, lone)
    assert searches.search(DropNas, nasbench201_space()).groups == [[2, 3], [0, 1, 4]]
