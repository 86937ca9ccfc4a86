"""ASAP: annealing, the grace period, and pruning that is real."""

from __future__ import annotations

import pytest
import torch

from dots.common.errors import UserError
from dots.nas.strategies.asap import Asap, AsapSettings
from dots.nas.strategies.shared.progressive import PruningSearch
from dots.space.search_space import ZERO, darts_space
from helpers import searches, small

SPACE = darts_space(nodes=2)


def set_alpha(search: PruningSearch, rows: dict[int, list[float]]) -> None:
    table = torch.zeros(searches.EDGES, 8)
    for edge, values in rows.items():
        table[edge] = torch.tensor(values)
    for alpha in search.alpha.values():
        alpha.data = table.clone()


def test_temperature_of_a_search_of_fifty_epochs() -> None:
    settings = AsapSettings()
    temperatures = [settings.temperature_at(epoch, 50) for epoch in range(50)]
    assert temperatures == pytest.approx([1.6 * 0.95**epoch for epoch in range(50)])
    assert [t < 1 for t in temperatures].index(True) == 10
    assert temperatures[-1] == pytest.approx(0.13, abs=0.005)
    shorter = [settings.temperature_at(epoch, 10) for epoch in range(10)]
    assert shorter == pytest.approx(temperatures[::5])


def test_alpha_rests_in_the_grace_period() -> None:
    search = searches.search(Asap, epochs=10)
    assert [search.trains_architecture(epoch) for epoch in range(4)] == [False, False, True, True]
    before = search.alpha["normal"].detach().clone()
    for epoch in range(3):
        search.begin_epoch(epoch)
        search.set_epoch(epoch)
        wanted = search.wants_architecture_batch(epoch)
        assert wanted is (epoch == 2)
        search.step(epoch, small.batch(), small.batch(seed=1) if wanted else None)
        assert torch.equal(search.alpha["normal"], before) is (epoch < 2)


def test_weights_are_a_softmax_at_the_temperature() -> None:
    search = searches.search(Asap, epochs=50)
    search.begin_epoch(30)
    set_alpha(search, {0: [0.0, 0.1, 0.2, 0.3, 0.2, 0.1, 0.0, 0.3]})
    expected = torch.softmax(search.alpha["normal"] / (1.6 * 0.95**30), 1)
    torch.testing.assert_close(torch.tensor(search.mixing_weights()["normal"]), expected)


def test_what_falls_below_the_threshold_is_gone() -> None:
    """By hand: weights below 0.4/8 = 0.05 go, whatever the other edges hold."""
    search = searches.search(Asap, epochs=50)
    logits = [0.0, 0.3, 0.1, 0.9, -0.5, 0.2, 0.6, -1.0]
    set_alpha(search, {0: logits, 3: [-x for x in logits]})
    temperature = 1.6 * 0.95**20
    before = torch.softmax(search.alpha["normal"].detach() / temperature, 1)
    search.begin_epoch(20)
    assert 0 < int((before < 0.05).sum()) < 16
    for kind in SPACE.kinds:
        for edge, row in enumerate(before.tolist()):
            expected = tuple(op for op, w in zip(SPACE.operations, row, strict=True) if w >= 0.05)
            assert search.pruning.candidates[kind][edge] == expected
    for cell in search.supernet.body.cells:
        for edge, names in zip(cell.edges, search.pruning.candidates[cell.kind], strict=True):
            assert len(edge.operations) == len(names)
    after = torch.tensor(search.mixing_weights()["normal"])
    kept = before >= 0.05
    renormalised = (before * kept) / (before * kept).sum(1, keepdim=True)
    torch.testing.assert_close(after, renormalised)


def test_the_last_operation_is_never_pruned() -> None:
    search = searches.search(Asap, epochs=50, method={"threshold": 1.0})
    set_alpha(search, {edge: [0.0] * 7 + [1e-3] for edge in range(searches.EDGES)})
    while not search.pruning.decided:  # uniform weights are at the threshold, 1/8
        for alpha in search.alpha.values():
            alpha.data[:, 7] += 1.0
        search.begin_epoch(40)
    assert search.finished(40)
    assert set(search.pruning.candidates["normal"]) == {("dil_conv_5x5",)}
    search.begin_epoch(41)
    assert search.pruning.decided
    assert not search.wants_architecture_batch(41)
    search.set_epoch(41)
    search.step(41, small.batch(), None)


def test_pruning_leaves_weights_momentum_alpha_and_adam_alone() -> None:
    search = searches.search(Asap, epochs=10)
    search.begin_epoch(2)
    search.set_epoch(2)
    search.step(2, small.batch(), small.batch(seed=1))
    set_alpha(search, {edge: [-9.0] + [0.0] * 6 + [-9.0] for edge in range(searches.EDGES)})
    old_net, old_sgd = search.supernet, search.weight_optimiser.sgd
    alpha, adam = search.alpha["normal"], search.architecture_optimiser
    images = small.batch(seed=5).images
    before = search.evaluate(images)
    search.prune()
    assert search.supernet is not old_net
    old, new = old_net.body.cells[0].edges[0], search.supernet.body.cells[0].edges[0]
    assert (len(old.operations), len(new.operations)) == (8, 6)
    one = old.operations[4].first.depthwise.weight
    other = new.operations[3].first.depthwise.weight
    assert torch.equal(one, other)
    left = old_sgd.state[one]["momentum_buffer"]
    right = search.weight_optimiser.sgd.state[other]["momentum_buffer"]
    assert torch.equal(left, right)
    assert search.alpha["normal"] is alpha
    assert search.architecture_optimiser is adam
    # What went weighed e^-9: the function is nearly the same.
    torch.testing.assert_close(search.evaluate(images), before, rtol=0, atol=0.02)


def test_fewer_operations_have_fewer_weights() -> None:
    search = searches.search(Asap, epochs=10)
    full = sum(p.numel() for p in search.supernet.parameters())
    set_alpha(search, {edge: [5.0] * 4 + [0.0] * 4 for edge in range(searches.EDGES)})
    search.begin_epoch(5)
    names = search.pruning.candidates["normal"][0]
    assert names == (ZERO, "max_pool_3x3", "avg_pool_3x3", "skip_connect")
    assert sum(p.numel() for p in search.supernet.parameters()) < full
    assert search.end_epoch(5)["operations_left"] == 4


def test_a_pruned_operation_ranks_by_when_it_went() -> None:
    search = searches.search(Asap, epochs=10)
    set_alpha(search, {0: [0.0, -8.0, -9.0, 0.0, 0.0, 0.0, 0.0, 0.0]})
    search.begin_epoch(4)
    search.alpha["normal"].data[0, 3:5] = torch.tensor([-7.0, -6.0])
    search.begin_epoch(5)
    row = search.scores()["normal"][0]
    order = sorted(range(8), key=row.__getitem__)
    assert order[:4] == [2, 1, 3, 4]
    assert [score < 0 for score in row] == [False, True, True, True, True, False, False, False]


def test_a_search_that_never_leaves_the_grace_period_is_refused() -> None:
    with pytest.raises(UserError, match="'asap' never leaves its grace period"):
        searches.search(Asap, epochs=1)
    with pytest.raises(UserError, match=r"method\.grace"):
        searches.search(Asap, method={"grace": 0.01})
