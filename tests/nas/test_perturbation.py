"""DARTS-PT: what is masked, what is kept and tuned, planted truths, and any method's supernet."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch

from dots.common.errors import UserError
from dots.common.seeding import seed_step
from dots.nas.perturbation import PerturbationStage, share_out, work
from dots.nas.plan import make_plan
from dots.nas.strategies import STRATEGIES
from dots.nas.strategies.base import SupernetSearch
from dots.networks.body import Shape
from dots.networks.supernet import Mixture, Supernet
from dots.recipe import build_recipe
from dots.space.retain import retain
from dots.space.search_space import SearchSpace, darts_space, nasbench201_space
from helpers import contracts, searches, small
from helpers.planted import Colours, NoisyEdge
from helpers.stages import candidates_of, topology_settings

SPACE = darts_space(nodes=3, operations=("none", "skip_connect", "avg_pool_3x3"))
SETTINGS = searches.settings(tune_epochs=2)


def selection(
    space: SearchSpace = SPACE,
    edges: int | str | None = 2,
    scheme: str = "top1",
    net: Supernet | None = None,
    **changes: Any,
) -> PerturbationStage:
    torch.manual_seed(0)
    net = net or Supernet(space, small.SHAPE, fast=False)
    columns = max(map(len, net.candidates[space.kinds[0]]))
    draw = torch.Generator().manual_seed(5)
    count = len(space.cell.edges)
    values: dict[str, Any] = {
        "mixtures": {
            kind: Mixture(torch.rand(count, columns, generator=draw).softmax(1))
            for kind in space.kinds
        },
        "settings": SETTINGS,
        "batches": small.FewBatches(2),
        "held_out": small.FewBatches(1),
        "seed": 0,
        **changes,
    }
    keep = partial(retain, space, scheme=scheme)
    return PerturbationStage(
        "selection", space, net, keep=keep, edges=edges, engine=small.engine(), **values
    )


def game(stage: PerturbationStage, worth: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
    """A loss that falls by what the operations that run are worth; the mixtures it was asked."""
    asked: list[dict[str, Any]] = []

    def loss() -> float:
        mixtures = stage.mixtures()
        asked.append({k: (m.operations.clone(), m.edges.clone()) for k, m in mixtures.items()})
        return -float(
            sum(
                (worth[k] * (m.operations > 0) * (m.edges > 0)[:, None]).sum()
                for k, m in mixtures.items()
            )
        )

    stage.loss = loss  # type: ignore[method-assign]
    return asked


def worths(space: SearchSpace = SPACE, seed: int = 1) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    shape = (len(space.cell.edges), len(space.operations))
    tables = {kind: torch.rand(shape, generator=draw) for kind in space.kinds}
    for table in tables.values():
        table[:, 0] = 0.0  # Zero
    return tables


def drive(stage: PerturbationStage, epochs: range | None = None) -> PerturbationStage:
    for epoch in epochs or range(stage.epochs):
        stage.begin_epoch(epoch)
        stage.set_epoch(epoch)
        for step, pair in enumerate(stage.batches(epoch, 0)):
            seed_step(0, stage.name, epoch, step)
            stage.step(epoch, step, pair)
        stage.end_epoch(epoch)
    return stage


@pytest.mark.parametrize(
    ("space", "edges"),
    [(SPACE, 2), (SPACE, "pairs"), (SPACE, 1), (nasbench201_space(), None), (SPACE, "any")],
)
def test_the_plan_knows_how_much_there_is_to_do(
    space: SearchSpace, edges: int | str | None
) -> None:
    stage = selection(space, edges)
    asked = game(stage, worths(space))
    for round_ in range(stage.rounds):
        stage.decide(round_)
    decisions, ratings = work(space, len(space.operations), edges)
    assert decisions == stage.rounds
    # With "any" it is asked for the full loss too, and may end before one edge is left.
    assert len(asked) == ratings if edges != "any" else 0 < len(asked) <= ratings
    assert work(space, 1, edges)[1] < ratings


def test_a_trial_masks_exactly_one_operation_and_puts_it_back() -> None:
    stage = selection()
    before = {kind: weights.clone() for kind, weights in stage.operation_weights.items()}
    asked = game(stage, worths())
    _, edge = stage.orders["normal"][0]
    stage.keep = lambda scores: SPACE.full_candidates  # keep all
    stage._project_edge("normal", edge)
    assert len(asked) == 3
    for column, mixtures in enumerate(asked):
        expected = before["normal"].clone()
        expected[edge, column] = 0.0
        assert torch.equal(mixtures["normal"][0], expected)
        assert torch.equal(mixtures["reduce"][0], before["reduce"])
        assert all(bool((edges == 1).all()) for _, edges in mixtures.values())
    torch.testing.assert_close(stage.operation_weights["normal"], before["normal"])


def test_each_decision_keeps_what_is_missed_most_with_all_the_edge_s_weight() -> None:
    stage, worth = selection(edges=None), worths()
    game(stage, worth)
    totals = {kind: weights.sum(1) for kind, weights in stage.operation_weights.items()}
    drive(stage)
    for kind, table in worth.items():
        best = table.argmax(1)
        weights = stage.operation_weights[kind]
        assert weights.argmax(1).tolist() == best.tolist()
        assert int((weights > 0).sum()) == len(best)
        torch.testing.assert_close(weights.sum(1), totals[kind])
        names = [SPACE.operations[column] for column in best.tolist()]
        assert list(stage.operations()[kind]) == names


def test_scores_are_losses_so_that_retention_keeps_the_same() -> None:
    space = darts_space(nodes=1)
    stage, worth = selection(space, edges=None, scheme="group-v2"), worths(space)
    game(stage, worth)
    drive(stage)
    kept = retain(space, stage.scores(), "group-v2")
    expected = retain(space, {k: table.tolist() for k, table in worth.items()}, "group-v2")
    assert kept == expected
    runs = stage.mixtures()["normal"].active
    assert runs is not None
    for edge, names in enumerate(kept["normal"]):
        on = [op for op, runs_ in zip(space.operations, runs[edge], strict=True) if runs_]
        assert set(on) == set(names)


def test_edges_go_one_by_one_until_two_are_left_at_every_node() -> None:
    stage, worth = selection(), worths()
    game(stage, worth)
    drive(stage)
    for kind, table in worth.items():
        best = table.amax(1)
        for incoming in SPACE.cell.incoming:
            ranked = sorted(incoming, key=lambda edge: -float(best[edge]))
            kept = [edge for edge in stage.kept_edges()[kind] if edge in incoming]
            assert sorted(kept) == sorted(ranked[:2])
    genotype = stage.genotype()
    assert all(len(node) == 2 for cell in genotype.cells.values() for node in cell.nodes)


def test_without_a_number_edges_go_while_that_lowers_the_loss() -> None:
    """Two edges into the last node harm; at the first node both do, and one stays."""
    space = darts_space(2, ("skip_connect", "avg_pool_3x3"))
    stage = selection(space, edges="any")
    worth = {kind: torch.full((5, 2), 1.0) for kind in space.kinds}
    for table in worth.values():
        table[3] = table[4] = -1.0
        table[0], table[1] = -1.0, -2.0
    game(stage, worth)
    drive(stage)
    assert stage.kept_edges() == dict.fromkeys(space.kinds, (0, 2))


def test_the_schedule_decides_first_and_tunes_in_between() -> None:
    stage = selection()
    assert [kind for kind, _ in stage.orders["normal"]] == ["edge"] * 9 + ["node"] * 2
    assert sorted(index for kind, index in stage.orders["normal"] if kind == "edge") == [*range(9)]
    assert stage.orders["normal"] != stage.orders["reduce"], "each kind in an order of its own"
    assert stage.rounds == 11
    assert stage.epochs == 20
    decided: list[int] = []
    stage.decide = decided.append  # type: ignore[method-assign]
    for epoch in range(stage.epochs):
        stage.begin_epoch(epoch)
        assert stage.end_epoch(epoch)["decided"] == (epoch + 1) // 2 + 1
    assert decided == list(range(11))
    stage.set_epoch(0)
    assert stage.lr == pytest.approx(0.1 * SETTINGS.lr)
    stage.set_epoch(10)
    assert stage.lr == pytest.approx(0.05 * SETTINGS.lr)


def test_tuning_moves_w_and_no_mixture_and_trials_move_nothing() -> None:
    stage = selection()
    weights = {name: value.clone() for name, value in stage.supernet.state_dict().items()}
    stage.decide(0)
    assert contracts.same(weights, dict(stage.supernet.state_dict()))
    mixtures = {kind: m.operations.clone() for kind, m in stage.mixtures().items()}
    stage.set_epoch(0)
    for pair in stage.batches(0, 0):
        stage.step(0, 0, pair)
    assert not contracts.same(weights, dict(stage.supernet.state_dict()))
    assert all(torch.equal(m.operations, mixtures[k]) for k, m in stage.mixtures().items())


def test_it_goes_on_bit_for_bit() -> None:
    space = darts_space(1, ("skip_connect", "avg_pool_3x3"))
    whole = drive(selection(space, edges=1))
    first, second = selection(space, edges=1), selection(space, edges=1)
    drive(first, range(3))
    second.load_state(copy.deepcopy(first.state()))
    drive(second, range(3, second.epochs))
    assert contracts.same(whole.state(), second.state())
    assert whole.genotype() == second.genotype()
    assert whole.scores() == second.scores()


def test_sharing_out_keeps_proportions_and_the_sum() -> None:
    weights = torch.tensor([0.1, 0.3, 0.2, 0.4])
    shared = share_out(weights, [True, True, False, False])
    torch.testing.assert_close(shared, torch.tensor([0.25, 0.75, 0.0, 0.0]))
    nothing = share_out(torch.tensor([0.0, 0.0, 2.0, 9.0]), [True, True, False])
    torch.testing.assert_close(nothing, torch.tensor([1.0, 1.0, 0.0, 0.0]))


def test_edge_importance_is_what_each_removal_adds() -> None:
    stage, worth = selection(), worths()
    game(stage, worth)
    for kind, importance in stage.edge_importance().items():
        assert importance == pytest.approx(worth[kind].sum(1).tolist(), abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_planted_edges_are_found_in_a_trained_supernet(seed: int) -> None:
    """Noise on every edge of the last node but two: the supernet does not miss it."""
    space = darts_space(nodes=3)
    incoming = space.cell.incoming[-1]
    order = torch.randperm(len(incoming), generator=torch.Generator().manual_seed(seed))
    planted = frozenset(incoming[place] for place in order[:2].tolist())
    quiet = planted | frozenset(range(incoming[0]))
    torch.manual_seed(seed)
    net = Supernet(
        space,
        Shape(cells=1, channels=6, image_channels=3, classes=3),
        candidates_of(space, ("skip_connect",)),
        make_edge=lambda plan: NoisyEdge(plan, quiet),
    )
    weights = {kind: Mixture(torch.ones(9, 1)) for kind in space.kinds}
    stage = selection(
        space, net=net, mixtures=weights, batches=Colours(), held_out=Colours(steps=3),
        settings=topology_settings(tune_epochs=1, lr=0.5), seed=seed,
    )  # fmt: skip
    stage.set_epoch(0)
    for epoch in range(2):  # so that there is something to miss
        for pair in stage.batches(epoch, 0):
            stage.step(epoch, 0, pair)
    drive(stage)
    kept = stage.kept_edges()[net.body.plans[0].kind]
    assert {edge for edge in kept if edge in incoming} == planted


SUPERNETS = [name for name, cls in STRATEGIES.items() if issubclass(cls, SupernetSearch)]


@pytest.mark.parametrize("name", SUPERNETS)
def test_any_method_s_supernet_can_be_perturbed(name: str) -> None:
    search = contracts.run(contracts.build(name, epochs=3), steps=1)
    assert isinstance(search, SupernetSearch)
    space = search.context.space
    weights = search.operation_probabilities()
    mixtures = {
        kind: Mixture(weights[kind], mixture.edges)
        for kind, mixture in search.mixtures("evaluation").items()
    }
    stage = selection(
        space, edges=1, net=search.supernet, mixtures=mixtures,
        settings=searches.settings(tune_epochs=1, channels=search.settings.channels),
        batches=small.FewBatches(1), held_out=small.FewBatches(1),
    )  # fmt: skip
    if stage.rounds:
        drive(stage)
    genotype = stage.genotype()
    genotype.check_buildable()
    assert all(len(node) == 1 for cell in genotype.cells.values() for node in cell.nodes)
    scores = stage.scores()
    names = search.supernet.candidates
    for kind, rows in scores.items():
        for row, own in zip(rows, names[kind], strict=True):
            best = space.operations[max(range(len(row)), key=row.__getitem__)]
            assert best in own


def test_in_nasbench201_the_rule_may_leave_an_edge_out() -> None:
    space = nasbench201_space()
    stage = selection(space, edges=None)
    worth = worths(space)
    worth["normal"][1, 1:] = -1.0  # every operation on this edge harms
    game(stage, worth)
    drive(stage)
    nodes = stage.genotype().cells["normal"].nodes
    assert [len(node) for node in nodes] == [1, 1, 3]


def test_it_is_refused_where_no_supernet_is_trained() -> None:
    words = ["strategy=random", "operations.select=perturbation"]
    with pytest.raises(UserError, match="'random' trains none"):
        make_plan(build_recipe("tiny", overrides=words))


@pytest.mark.parametrize("select", ["supernet", "perturbation"])
def test_a_budget_goes_by_the_order_of_beta(select: str) -> None:
    words = [f"topology.select={select}", "budget.max_parameters=100000"]
    with pytest.raises(UserError, match="set it to argmax or average"):
        build_recipe("tiny", overrides=words)
    build_recipe("tiny", overrides=["topology.select=average", *words[1:]])
