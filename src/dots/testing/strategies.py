"""What every strategy must keep to, whatever its method."""

from __future__ import annotations

import copy
import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
import torch
from torch import Tensor

from dots.common.errors import UserError
from dots.nas.strategies import STRATEGIES
from dots.nas.strategies.base import (
    GradientSearch,
    OperationSearch,
    Phase,
    ScoreTable,
    SupernetSearch,
)
from dots.networks.derived import DerivedNetwork
from dots.recipe.settings import OperationSettings
from dots.space.retain import RETAIN_SCHEMES, retain
from dots.space.search_space import (
    DARTS_OPERATIONS,
    SearchSpace,
    darts_space,
    named_space,
    nasbench201_space,
)
from dots.testing import small
from dots.testing.searching import (
    SMALL,
    STEPS,
    copied,
    counted,
    drive,
    interrupted_after_every_step,
    operation_modules,
    run,
    same,
    settings,
)
from dots.testing.searching import (
    search as small_search,
)

PHASES: tuple[Phase, ...] = ("weights", "architecture", "evaluation")
WITHOUT_ZERO = darts_space(nodes=2, operations=DARTS_OPERATIONS[1:])
SPACES = {
    "one node, four operations": darts_space(
        nodes=1, operations=("none", "skip_connect", "avg_pool_3x3", "sep_conv_5x5")
    ),
    "three nodes": darts_space(nodes=3, operations=DARTS_OPERATIONS[2:6]),
    "without Zero": WITHOUT_ZERO,
    "s2": named_space("s2", 2),
    "s3": named_space("s3", 2),
    "s4": named_space("s4", 2),
    "nasbench201": nasbench201_space(),
}


def check_table(space: SearchSpace, table: ScoreTable) -> None:
    assert list(table) == list(space.kinds)
    for rows in table.values():
        assert len(rows) == len(space.cell.edges)
        assert all(len(row) == len(space.operations) for row in rows)
        assert all(math.isfinite(value) for row in rows for value in row)


def check_outcome(search: OperationSearch) -> None:
    """Weights, scores, the derived cell and what is retained, in shape and in range."""
    space = search.context.space
    weights = search.mixing_weights()
    check_table(space, weights)
    values = [value for rows in weights.values() for row in rows for value in row]
    assert all(0 <= value <= 1 + 1e-6 for value in values)
    assert all(sum(row) > 0 for rows in weights.values() for row in rows)
    scores = search.scores()
    check_table(space, scores)
    assert json.loads(json.dumps(scores)) == scores
    genotype = search.derive()
    genotype.check_buildable()
    assert type(genotype).from_json(json.loads(json.dumps(genotype.to_json()))) == genotype
    for scheme in RETAIN_SCHEMES:
        if scheme.startswith("top") or scheme.removeprefix("group-") in space.groups:
            retained = retain(space, scores, scheme)
            assert all(len(retained[kind]) == len(space.cell.edges) for kind in space.kinds)


class StrategyContract:
    """The tests of one strategy: subclass it in a test file, and set `strategy`.

    `method` are settings of the strategy with which a step is quick and α moves within an epoch
    of two steps, where the default ones are slower.
    """

    strategy: type[OperationSearch]
    method: Mapping[str, object] = MappingProxyType({})

    def build(
        self, space: SearchSpace | None = None, *, fast: bool = False, **changes: Any
    ) -> OperationSearch:
        """A small search in its first epoch; see `dots.testing.searching.search`.

        By default on the plain kernels, which are the faster ones for networks this small.
        """
        return small_search(self.strategy, space or SMALL, method=self.method, fast=fast, **changes)

    def needs(self, kind: type) -> None:
        """Skip a test that has nothing to say of this strategy."""
        if not issubclass(self.strategy, kind):
            pytest.skip(f"{self.strategy.name} is no {kind.__name__}")

    def test_it_has_a_name_of_its_own_and_checked_settings(self) -> None:
        strategy = self.strategy
        assert strategy.name
        assert STRATEGIES.get(strategy.name, strategy) is strategy, "one of ours has that name"
        with pytest.raises(ValueError, match="nonsense"):
            strategy.Settings(**dict.fromkeys(["nonsense"], 1))
        for field, info in strategy.Settings.model_fields.items():
            assert info.description, f"{field} has no description"
        OperationSettings(**{**settings().model_dump(), **strategy.published})

    def test_weights_and_scores_have_the_space_s_shape_from_the_first_to_the_last_epoch(
        self,
    ) -> None:
        search = self.build(darts_space(nodes=2))
        check_outcome(search)
        check_outcome(run(search))

    @pytest.mark.parametrize("place", SPACES)
    def test_it_searches_any_space_or_says_by_name_that_it_does_not(self, place: str) -> None:
        space, refusal = SPACES[place], ""
        try:
            search = self.build(space)
        except UserError as error:
            refusal = str(error)
        if refusal:
            assert self.strategy.name in refusal
            assert repr(space.name) in refusal
            assert "\n" not in refusal
            return
        check_outcome(run(search, steps=1))
        logits = search.evaluate(small.batch().images)
        assert logits.shape == (6, 5)
        assert torch.isfinite(logits).all()

    def test_its_cell_makes_a_network(self) -> None:
        genotype = run(self.build(), steps=1).derive()
        network = DerivedNetwork(genotype, small.SHAPE)
        assert network(small.batch().images).shape == (6, 5)

    def test_w_and_alpha_move_when_the_schedule_says(self) -> None:
        self.needs(GradientSearch)
        search = self.build(weight_epochs=2)
        assert isinstance(search, GradientSearch)
        moved: dict[int, bool] = {}
        weights: list[Tensor] = []
        alphas: list[Tensor] = []
        for event in drive(search):
            if event.kind == "entered":
                weights = copied(list(search.supernet.parameters()))
                alphas = copied(search.architecture_parameters())
            if event == ("stepped", event.epoch, STEPS - 1):
                assert not same(weights, copied(list(search.supernet.parameters())))
                pairs = zip(alphas, search.architecture_parameters(), strict=True)
                changed = [not torch.equal(old, new) for old, new in pairs]
                assert len(set(changed)) == 1, "some architecture parameters moved, others did not"
                moved[event.epoch] = changed[0]
        assert moved == {epoch: search.trains_architecture(epoch) for epoch in moved}
        assert not moved[0]
        assert any(moved.values())

    def test_a_step_of_alpha_leaves_w_and_a_step_of_w_leaves_alpha(self) -> None:
        self.needs(GradientSearch)
        search = self.build()
        assert isinstance(search, GradientSearch)
        alphas = copied(search.architecture_parameters())
        search.weight_step(small.batch())
        assert same(alphas, copied(search.architecture_parameters()))
        weights = copied(list(search.supernet.parameters()))
        search.architecture_step(small.batch(seed=1))
        assert same(weights, copied(list(search.supernet.parameters())))
        assert not same(alphas, copied(search.architecture_parameters()))

    def test_only_the_operations_that_it_needs_run(self) -> None:
        self.needs(SupernetSearch)
        search = self.build(WITHOUT_ZERO, fast=True)
        assert isinstance(search, SupernetSearch)
        search.step(0, small.batch(images=4), small.batch(images=4, seed=1))
        for phase in PHASES:
            with counted(search) as calls, torch.no_grad():
                search.supernet(small.batch(images=4).images, search.mixtures(phase))
            runs: Counter[tuple[int, int]] = Counter()
            there: Counter[tuple[int, int]] = Counter()
            for _, cell, edge, module in operation_modules(search):
                assert calls[module] <= 1
                there[cell, edge] += 1
                runs[cell, edge] += calls[module]
            if phase not in search.operations_per_edge:
                assert runs == there
                continue
            fewest, most = search.operations_per_edge[phase]
            assert all(min(fewest, there[edge]) <= runs[edge] <= most for edge in there)

    def test_every_weight_that_ran_gets_a_gradient_and_no_other(self) -> None:
        self.needs(SupernetSearch)
        search = self.build(WITHOUT_ZERO, fast=True)
        assert isinstance(search, SupernetSearch)
        with counted(search) as calls:
            search.weight_step(small.batch())
        inside = set()
        for _, _, _, module in operation_modules(search):
            for parameter in module.parameters():
                inside.add(parameter)
                assert (parameter.grad is not None) == (calls[module] > 0)
        for parameter in search.supernet.parameters():
            if parameter not in inside:
                assert parameter.grad is not None
            if parameter.grad is not None:
                assert torch.isfinite(parameter.grad).all()

    def test_every_architecture_parameter_gets_a_gradient(self) -> None:
        """At once, where the method trains all of them in each step; sooner or later, elsewhere."""
        self.needs(GradientSearch)
        search = self.build(WITHOUT_ZERO)
        assert isinstance(search, GradientSearch)
        seen: dict[int, Tensor] = {}
        once = "architecture" not in search.operations_per_edge
        for step in range(1 if once else 24):
            torch.manual_seed(step)
            draw = getattr(search, "draw_noise", None)
            if draw is not None:
                draw()
            search.architecture_step(small.batch(seed=step))
            for index, parameter in enumerate(search.architecture_parameters()):
                assert parameter.grad is not None
                assert torch.isfinite(parameter.grad).all()
                seen[index] = seen.get(index, 0) + parameter.grad.abs()
        candidates = defaultdict(int)
        for kind, edges in search.supernet.candidates.items():
            candidates[kind] = sum(map(len, edges))
        for index, (kind, alpha) in enumerate(search.alpha.items()):
            assert search.architecture_parameters()[index] is alpha
            assert int((seen[index] > 0).sum()) == candidates[kind]
        for index in range(len(search.alpha), len(seen)):
            assert (seen[index] > 0).all()

    def test_the_seed_decides_the_scores(self) -> None:
        first, second = run(self.build(), steps=1), run(self.build(), steps=1)
        assert first.scores() == second.scores()
        assert same(first.state(), second.state())
        assert run(self.build(seed=1), steps=1).scores() != first.scores()

    def test_interrupted_after_every_step_it_goes_on_bit_for_bit(self) -> None:
        whole, parts = run(self.build()), interrupted_after_every_step(self.build)
        assert whole.scores() == parts.scores()
        assert whole.mixing_weights() == parts.mixing_weights()
        assert whole.derive() == parts.derive()
        assert same(whole.state(), parts.state())

    def test_evaluation_is_deterministic_and_changes_nothing(self) -> None:
        search = self.build()
        search.step(0, small.batch(), small.batch(seed=1))
        images = small.batch(seed=2).images
        before = copy.deepcopy(search.state())
        random_state = torch.get_rng_state()
        first = search.evaluate(images)
        assert torch.equal(first, search.evaluate(images))
        assert not first.requires_grad
        assert torch.equal(random_state, torch.get_rng_state())
        assert same(search.state(), before)
        if isinstance(search, SupernetSearch):
            assert search.supernet.training

    def test_recomputing_cells_changes_nothing(self) -> None:
        changes: dict[str, Any] = {"epochs": 3, "cells": 3}
        plain = run(self.build(**changes), steps=1)
        low = run(self.build(low_memory=True, **changes), steps=1)
        for kind, rows in plain.scores().items():
            torch.testing.assert_close(
                torch.tensor(rows), torch.tensor(low.scores()[kind]), rtol=1e-4, atol=1e-5
            )
