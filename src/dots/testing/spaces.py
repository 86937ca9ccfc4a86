"""What every search space must keep to."""

from __future__ import annotations

import json
import pickle

import torch

from dots.nas.random_cell import random_genotype
from dots.nas.strategies.darts import Darts
from dots.networks.count import network_cost
from dots.networks.derived import DerivedNetwork
from dots.networks.operations.candidates import OperationStyle
from dots.networks.operations.registry import make_operation
from dots.networks.supernet import Mixture, Supernet
from dots.space.genotype import Genotype
from dots.space.retain import RETAIN_SCHEMES, retain, retained_groups
from dots.space.search_space import OURS, ZERO, SearchSpace, named_space
from dots.testing import small
from dots.testing.searching import run, search

SKELETONS = {"darts": ("normal", "reduce"), "nasbench201": ("normal",)}
"""The skeletons, and the kinds of cells that they put together."""


class SpaceContract:
    """The tests of one search space: subclass it in a test file, and set `space`."""

    space: SearchSpace

    def test_it_has_a_name_of_its_own(self) -> None:
        name = self.space.name
        assert name
        assert ":" not in name
        if name in OURS:
            assert named_space(name, None) == self.space, "one of ours has that name"

    def test_its_cells_fit_the_skeleton(self) -> None:
        space = self.space
        assert space.skeleton in SKELETONS
        assert set(space.kinds) == set(SKELETONS[space.skeleton])
        if space.skeleton == "nasbench201":
            assert (space.cell.inputs, space.cell.output) == (1, "last")

    def test_every_operation_can_be_made(self) -> None:
        space = self.space
        assert len(set(space.operations)) == len(space.operations)
        assert set(space.operations) - {ZERO}
        assert set(space.own) <= set(space.operations)
        for name in space.operations:
            for stride in (1, 2):
                for style in (OperationStyle(True, False), OperationStyle(False, True)):
                    make_operation(name, 4, stride, style, space.own)

    def test_its_groups_hold_its_operations_once(self) -> None:
        for scheme, groups in self.space.groups.items():
            members = [op for group in groups for op in group]
            assert all(groups), f"an empty group in {scheme}"
            assert len(set(members)) == len(members), f"an operation stands twice in {scheme}"
            assert set(members) <= set(self.space.operations), scheme
            if scheme in ("v1", "v2"):
                missing = set(self.space.operations) - set(members)
                assert not missing, f"{scheme} would never keep {missing}"
        assert set(self.space.mergeable) <= set(self.space.operations)

    def test_a_search_finds_a_cell_in_it(self) -> None:
        found = run(search(Darts, self.space, fast=False), steps=1)
        cell = found.derive()
        assert cell.space == self.space.name
        cell.check_buildable()
        schemes = [
            name
            for name in RETAIN_SCHEMES
            if name.startswith("top") or name.removeprefix("group-") in self.space.groups
        ]
        for scheme in schemes:
            kept = retain(self.space, found.scores(), scheme)
            supernet = Supernet(self.space, small.SHAPE, kept, fast=False)
            edges = len(self.space.cell.edges)
            width = max(len(names) for rows in kept.values() for names in rows)
            mixture = Mixture(torch.full((edges, width), 1 / width))
            logits = supernet(small.batch().images, dict.fromkeys(self.space.kinds, mixture))
            assert torch.isfinite(logits).all(), scheme
            assert retained_groups(self.space, scheme)

    def test_its_cells_become_networks_and_files(self) -> None:
        for draw in range(3):
            cell = random_genotype(self.space, "any", 0, draw)
            cell.check_buildable()
            network = DerivedNetwork(cell, small.SHAPE, fast=False)
            assert network(small.batch().images).shape == (6, small.SHAPE.classes)
            assert network_cost(cell, small.SHAPE, 8).parameters == sum(
                weight.numel() for weight in network.parameters()
            )
            text = json.loads(json.dumps(cell.to_json()))
            assert Genotype.from_json(text, space=self.space) == cell
            assert pickle.loads(pickle.dumps(cell)).graph == self.space
