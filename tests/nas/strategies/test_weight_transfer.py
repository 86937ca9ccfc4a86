"""What survives a rebuild: weights, statistics, momentum; and what a wider layer gets."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dots.nas.strategies.shared.partial_channels import partial_edges
from dots.nas.strategies.shared.progressive import transfer_weights, widened
from dots.networks.supernet import Mixture, Supernet
from dots.space.search_space import darts_space
from helpers import small

SPACE = darts_space(nodes=2)
FULL = len(SPACE.operations)
KEPT = (1, 3, 5)  # max_pool_3x3, skip_connect, sep_conv_5x5


def trained(**settings: object) -> tuple[Supernet, torch.optim.SGD]:
    """A supernet after two steps, so that it has momentum and statistics."""
    net = small.supernet(SPACE, **settings)
    sgd = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for seed in range(2):
        batch = small.batch(seed=seed)
        loss = F.cross_entropy(net(batch.images, mixtures(FULL)), batch.labels)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    return net, sgd


def mixtures(columns: int) -> dict[str, Mixture]:
    edges = len(SPACE.cell.edges)
    return {kind: Mixture(torch.full((edges, columns), 1 / columns)) for kind in SPACE.kinds}


def narrowed() -> dict[str, tuple[tuple[str, ...], ...]]:
    names = tuple(SPACE.operations[column] for column in KEPT)
    return dict.fromkeys(SPACE.kinds, (names,) * len(SPACE.cell.edges))


def test_survivors_compute_what_they_did() -> None:
    """The small supernet equals the full one where the others have weight zero."""
    old, old_sgd = trained()
    new = small.supernet(SPACE, seed=1, candidates=narrowed())
    transfer_weights(old, old_sgd, new, torch.optim.SGD(new.parameters(), lr=0.05, momentum=0.9))
    weights = torch.zeros(len(SPACE.cell.edges), FULL)
    weights[:, list(KEPT)] = 1 / 3
    masked = {kind: Mixture(weights) for kind in SPACE.kinds}
    images = small.batch(seed=7).images
    for mode in (False, True):
        old.train(mode)
        new.train(mode)
        torch.testing.assert_close(new(images, mixtures(3)), old(images, masked))
    assert sum(p.numel() for p in new.parameters()) < sum(p.numel() for p in old.parameters())


def test_momentum_goes_with_its_weight() -> None:
    old, old_sgd = trained()
    new = small.supernet(SPACE, seed=1, candidates=narrowed())
    new_sgd = torch.optim.SGD(new.parameters(), lr=0.05, momentum=0.9)
    transfer_weights(old, old_sgd, new, new_sgd)
    assert len(new_sgd.state) == len(list(new.parameters()))
    for cell_old, cell_new in zip(old.body.cells, new.body.cells, strict=True):
        for edge_old, edge_new in zip(cell_old.edges, cell_new.edges, strict=True):
            for place, column in enumerate(KEPT):
                pairs = zip(
                    edge_old.operations[column].parameters(),
                    edge_new.operations[place].parameters(),
                    strict=True,
                )
                for before, after in pairs:
                    assert torch.equal(before, after)
                    left = old_sgd.state[before]["momentum_buffer"]
                    right = new_sgd.state[after]["momentum_buffer"]
                    assert torch.equal(left, right)
                    assert left.data_ptr() != right.data_ptr()
    assert torch.equal(
        old_sgd.state[old.body.classifier.weight]["momentum_buffer"],
        new_sgd.state[new.body.classifier.weight]["momentum_buffer"],
    )


def test_widened_repeats_from_the_first_on() -> None:
    tensor = torch.tensor([[1.0, 2], [3, 4], [5, 6]])
    wide = widened(tensor, torch.Size((5, 3)))
    assert wide.tolist() == [[1, 2, 1], [3, 4, 3], [5, 6, 5], [1, 2, 1], [3, 4, 3]]


def test_wider_operations_repeat_weights_and_momentum() -> None:
    old, old_sgd = trained(make_edge=partial_edges(4))
    new = small.supernet(SPACE, seed=1, make_edge=partial_edges(2))
    new_sgd = torch.optim.SGD(new.parameters(), lr=0.05, momentum=0.9)
    transfer_weights(old, old_sgd, new, new_sgd)
    column = SPACE.operations.index("sep_conv_3x3")
    narrow = old.body.cells[1].edges[0].inner.operations[column].first
    wide = new.body.cells[1].edges[0].inner.operations[column].first
    assert narrow.pointwise.weight.shape == (2, 2, 1, 1)
    assert wide.pointwise.weight.shape == (4, 4, 1, 1)
    for before, after in (
        (narrow.pointwise.weight, wide.pointwise.weight),
        (
            old_sgd.state[narrow.pointwise.weight]["momentum_buffer"],
            new_sgd.state[wide.pointwise.weight]["momentum_buffer"],
        ),
    ):
        for out in range(4):
            for into in range(4):
                assert after[out, into] == before[out % 2, into % 2]
    assert torch.equal(wide.depthwise.weight[:2], narrow.depthwise.weight)
    assert torch.equal(wide.depthwise.weight[2:], narrow.depthwise.weight)
    assert torch.equal(wide.norm.running_mean, narrow.norm.running_mean.repeat(2))
