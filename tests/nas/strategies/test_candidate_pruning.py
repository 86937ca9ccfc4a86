"""Per-edge candidates: columns, masked softmax, and the rank of what was dropped."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dots.nas.strategies.shared.candidate_pruning import CandidatePruning, heaviest
from dots.space.retain import retain
from dots.space.search_space import CellSpec, SearchSpace, darts_space

CPU = torch.device("cpu")
SPACE = SearchSpace(
    "three-edges", CellSpec(1, 2, "last"), ("normal",), ("a", "b", "c", "d"), "nasbench201"
)
UNEVEN = {"normal": (("a", "c"), ("d",), ("a", "b", "d"))}


def weights(*rows: list[float]) -> dict[str, Tensor]:
    return {"normal": torch.tensor(rows)}


def test_columns_name_the_candidates_of_each_edge() -> None:
    pruning = CandidatePruning(SPACE, UNEVEN, CPU)
    assert pruning.candidates == UNEVEN
    table = torch.arange(12.0).reshape(3, 4)
    gathered = pruning.gather("normal", table)
    assert gathered.shape == (3, 3)
    assert gathered[0, :2].tolist() == [0, 2]
    assert gathered[1, :1].tolist() == [7]
    assert gathered[2].tolist() == [8, 9, 11]


def test_softmax_is_over_the_candidates_alone() -> None:
    pruning = CandidatePruning(SPACE, UNEVEN, CPU)
    logits = torch.tensor([[1.0, 9, 2, 9], [9, 9, 9, 3], [1, 2, 9, 3]])
    table = pruning.softmax("normal", logits, 2.0)
    torch.testing.assert_close(table[0, [0, 2]], torch.softmax(torch.tensor([0.5, 1.0]), 0))
    torch.testing.assert_close(table[2, [0, 1, 3]], torch.softmax(torch.tensor([0.5, 1, 1.5]), 0))
    assert table[1].tolist() == [0, 0, 0, 1]
    assert table[0, [1, 3]].tolist() == [0, 0]


def test_what_is_lost_ranks_by_round_then_weight() -> None:
    pruning = CandidatePruning(SPACE, SPACE.full_candidates, CPU)
    full = torch.ones(3, 4, dtype=torch.bool)
    first = full.clone()
    first[0] = torch.tensor([True, False, True, False])
    pruning.prune({"normal": first}, weights([0.4, 0.1, 0.3, 0.2], [0.25] * 4, [0.25] * 4))
    second = first.clone()
    second[0, 2] = False
    pruning.prune({"normal": second}, weights([0.9, 0.0, 0.1, 0.0], [0.25] * 4, [0.25] * 4))
    row = pruning.scores(weights([1.0, 0, 0, 0], [0.25] * 4, [0.25] * 4))["normal"][0]
    assert row == pytest.approx([1.0, -1.9, -0.9, -1.8])


def test_what_never_was_a_candidate_ranks_last() -> None:
    candidates = {"normal": (("b", "c", "d"),) * 3}
    pruning = CandidatePruning(SPACE, candidates, CPU)
    assert pruning.scores(weights(*[[0.0, 0.3, 0.3, 0.4]] * 3))["normal"][0][0] == -1
    kept = {"normal": torch.tensor([[False, True, False, False]] * 3)}
    pruning.prune(kept, weights(*[[0.0, 0.6, 0.3, 0.1]] * 3))
    row = pruning.scores(weights(*[[0.0, 1, 0, 0]] * 3))["normal"][0]
    assert sorted(range(4), key=row.__getitem__) == [0, 3, 2, 1]


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=4))
def test_scores_order_every_history(seeds: list[int]) -> None:
    """Survivors first, then the later lost, within a round the heavier; JSON keeps them."""
    pruning = CandidatePruning(SPACE, SPACE.full_candidates, CPU)
    expected: list[list[tuple[float, float]]] = [[(0.0, 0.0)] * 4 for _ in range(3)]
    for turn, seed in enumerate(seeds, start=1):
        generator = torch.Generator().manual_seed(seed)
        present = pruning.kept["normal"]
        table = torch.rand(3, 4, generator=generator).masked_fill(~present, 0.0)
        table = table / table.sum(1, keepdim=True)
        kept = heaviest(table, present, int(torch.randint(1, 5, (), generator=generator)))
        for edge in range(3):
            for op in range(4):
                if present[edge, op] and not kept[edge, op]:
                    expected[edge][op] = (turn, float(table[edge, op]))
        pruning.prune({"normal": kept}, {"normal": table})
    final = pruning.softmax("normal", torch.zeros(3, 4))
    scores = pruning.scores({"normal": final})["normal"]
    assert json.loads(json.dumps(scores)) == scores
    for edge in range(3):
        for op in range(4):
            alive = bool(pruning.kept["normal"][edge, op])
            assert (scores[edge][op] >= 0) == alive
            expected[edge][op] = (9.0, 0.0) if alive else expected[edge][op]
        for op in range(4):
            for other in range(4):
                if expected[edge][op] > expected[edge][other]:
                    assert scores[edge][op] > scores[edge][other]


def test_a_group_that_was_dropped_whole_keeps_an_order() -> None:
    space = darts_space(nodes=1)
    pruning = CandidatePruning(space, space.full_candidates, CPU)
    table = torch.tensor([[0.05, 0.06, 0.09, 0.4, 0.02, 0.08, 0.03, 0.27]] * 2)
    tables = dict.fromkeys(space.kinds, table)
    kept = {kind: heaviest(table, pruning.kept[kind], 1) for kind in space.kinds}
    pruning.prune(kept, tables)
    scores = pruning.scores({kind: kept[kind].float() for kind in space.kinds})
    assert retain(space, scores, "group-v2")["normal"][0] == ("skip_connect", "dil_conv_5x5")


def test_an_edge_cannot_lose_its_last_operation() -> None:
    pruning = CandidatePruning(SPACE, UNEVEN, CPU)
    kept = pruning.kept["normal"].clone()
    kept[1] = False
    with pytest.raises(ValueError, match="last operation"):
        pruning.prune({"normal": kept}, weights([0.25] * 4, [0.25] * 4, [0.25] * 4))


def test_heaviest_keeps_the_first_of_equals_and_only_what_is_there() -> None:
    table = torch.tensor([[0.2, 0.2, 0.2], [0.1, 0.9, 0.0]])
    kept = torch.tensor([[False, True, True], [True, False, True]])
    assert heaviest(table, kept, 1).tolist() == [[False, True, False], [True, False, False]]
    assert torch.equal(heaviest(table, kept, 5), kept)


def test_state_restores_everything() -> None:
    pruning = CandidatePruning(SPACE, SPACE.full_candidates, CPU)
    kept = pruning.kept["normal"].clone()
    kept[0, 2] = kept[2, 0] = False
    pruning.prune({"normal": kept}, weights(*[[0.1, 0.2, 0.3, 0.4]] * 3))
    other = CandidatePruning(SPACE, SPACE.full_candidates, CPU)
    other.load_state(pruning.state())
    now = weights(*[[0.1, 0.2, 0.3, 0.4]] * 3)
    assert other.candidates == pruning.candidates
    assert other.scores(now) == pruning.scores(now)
    assert torch.equal(other.columns["normal"], pruning.columns["normal"])
