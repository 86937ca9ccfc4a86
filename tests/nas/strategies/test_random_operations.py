"""Random operations: uniform in every choice that is made from them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import torch

from dots.nas.strategies.base import MethodSettings
from dots.nas.strategies.random_operations import RandomOperations
from dots.space.retain import retain
from dots.space.search_space import ZERO, darts_space
from helpers import searches, small

SPACE = darts_space(nodes=2)
SEEDS = 400


CONTEXT = searches.search(RandomOperations, SPACE).context


def search(seed: int) -> RandomOperations:
    return RandomOperations(replace(CONTEXT, seed=seed), MethodSettings())


def test_every_operation_and_every_pair_of_edges_is_equally_likely() -> None:
    operations: Counter[str] = Counter()
    pairs: Counter[tuple[int, ...]] = Counter()
    convolutions: Counter[str] = Counter()
    for seed in range(SEEDS):
        drawn = search(seed)
        for cell in drawn.derive().cells.values():
            operations.update(edge.op for node in cell.nodes for edge in node)
            pairs[tuple(sorted(edge.source for edge in cell.nodes[1]))] += 1
        for edges in retain(SPACE, drawn.scores(), "group-v2").values():
            convolutions.update(kept[1] for kept in edges)
    total = sum(operations.values())
    assert ZERO not in operations
    assert len(operations) == 7
    assert all(abs(count / total - 1 / 7) < 0.03 for count in operations.values())
    assert len(pairs) == 3
    assert all(abs(count / (2 * SEEDS) - 1 / 3) < 0.05 for count in pairs.values())
    assert all(abs(count / (10 * SEEDS) - 1 / 4) < 0.03 for count in convolutions.values())


def test_scores_are_a_distribution_and_come_from_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = search(3)
    torch.manual_seed(2)
    assert search(3).scores() == first.scores()
    assert search(4).scores() != first.scores()
    sums = torch.tensor([first.scores()[kind] for kind in SPACE.kinds]).sum(-1)
    torch.testing.assert_close(sums, torch.ones_like(sums))


def test_nothing_is_trained_and_one_pass_is_enough() -> None:
    drawn = search(0)
    before = drawn.scores()
    result = drawn.step(0, small.batch(), None)
    assert float(result.loss) == torch.tensor(5.0).log().item()
    assert not drawn.wants_architecture_batch(0)
    assert drawn.finished(0)
    assert drawn.scores() == before
