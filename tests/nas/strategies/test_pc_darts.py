"""PC-DARTS: K = 1 is DARTS with edge weights; what learns; what decides the cell."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dots.common.errors import UserError
from dots.nas.strategies.darts import Darts
from dots.nas.strategies.pc_darts import PcDarts, node_softmax
from dots.networks.supernet import Mixture
from dots.space.search_space import darts_space, nasbench201_space
from helpers import searches, small


def set_edges(search: PcDarts, rows: dict[str, list[float]]) -> None:
    for kind, values in rows.items():
        search.edge_alpha[kind].data = torch.tensor(values)[:, None]


def test_one_part_is_darts_with_edge_weights() -> None:
    """Same weights, same α: equal logits, equal gradients of w, α and the edges' parameters."""
    search = searches.search(PcDarts, method={"k": 1})
    darts = searches.search(Darts)
    for kind, alpha in search.alpha.items():
        alpha.data.normal_(generator=torch.Generator().manual_seed(1))
        search.edge_alpha[kind].data.normal_(generator=torch.Generator().manual_seed(2))
    pairs = list(zip(search.supernet.parameters(), darts.supernet.parameters(), strict=True))
    assert all(torch.equal(left, right) for left, right in pairs)

    batch = small.batch()
    logits = search.supernet(batch.images, search.mixtures("architecture"))
    alpha = {kind: a.detach().clone().requires_grad_() for kind, a in search.alpha.items()}
    edge = {kind: b.detach().clone().requires_grad_() for kind, b in search.edge_alpha.items()}
    mixtures = {}
    for kind in alpha:
        first, second = edge[kind][:2, 0], edge[kind][2:, 0]  # the edges of the two nodes
        gamma = torch.cat([torch.softmax(first, 0), torch.softmax(second, 0)])
        mixtures[kind] = Mixture(torch.softmax(alpha[kind], 1), gamma)
    expected = darts.supernet(batch.images, mixtures)
    assert torch.equal(logits, expected)

    F.cross_entropy(logits, batch.labels).backward()
    F.cross_entropy(expected, batch.labels).backward()
    for left, right in pairs:
        torch.testing.assert_close(left.grad, right.grad)
    for kind in alpha:
        torch.testing.assert_close(search.alpha[kind].grad, alpha[kind].grad)
        torch.testing.assert_close(search.edge_alpha[kind].grad, edge[kind].grad)
        assert bool((edge[kind].grad != 0).all())


@pytest.mark.parametrize("space", [darts_space(), nasbench201_space()], ids=lambda s: s.name)
def test_edge_weights_sum_to_one_at_every_node(space: object) -> None:
    cell = space.cell  # type: ignore[attr-defined]
    logits = torch.randn(len(cell.edges))
    weights = node_softmax(cell, logits)
    for target in range(cell.inputs, cell.inputs + cell.nodes):
        at_node = [index for index, (_, end) in enumerate(cell.edges) if end == target]
        torch.testing.assert_close(weights[at_node], torch.softmax(logits[at_node], 0))


def test_operations_are_built_for_a_part_of_the_channels() -> None:
    search = searches.search(PcDarts, channels=8)
    operation = search.supernet.body.cells[0].edges[0].inner.operations[4]
    assert operation.first.pointwise.weight.shape[:2] == (2, 2)


def test_edge_parameters_learn_with_alpha_and_only_with_it() -> None:
    search = searches.search(PcDarts, weight_epochs=1)
    before = {kind: edge.detach().clone() for kind, edge in search.edge_alpha.items()}
    search.step(0, small.batch(), None)
    assert all(torch.equal(search.edge_alpha[kind], before[kind]) for kind in before)
    search.step(1, small.batch(), small.batch(seed=1))
    assert all(bool((search.edge_alpha[kind] != before[kind]).all()) for kind in before)


def test_the_cell_goes_by_the_product_and_the_scores_by_alpha() -> None:
    search = searches.search(PcDarts)
    table = torch.zeros(searches.EDGES, 8)
    table[:, 4] = torch.tensor([1.0, 1.0, 3.0, 2.0, 1.0])  # sep_conv_3x3
    for alpha in search.alpha.values():
        alpha.data = table.clone()
    set_edges(search, {kind: [0.0, 0.0, -5.0, 0.0, 0.0] for kind in search.alpha})
    scores = search.scores()
    sources = [edge.source for edge in search.derive().cells["normal"].nodes[1]]
    assert sources == [1, 2]  # without the edge weights it would be 0 and 1
    expected = torch.softmax(table, 1)
    torch.testing.assert_close(torch.tensor(scores["normal"]), expected)


def test_channels_must_divide() -> None:
    with pytest.raises(UserError, match="'pc-darts' searches one in 4 channels, and 6"):
        searches.search(PcDarts, channels=6)
