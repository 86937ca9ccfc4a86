"""The weight-only epochs of the topology search on half A, as in the authors' release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dots
from dots.nas.topology_search import TopologyStage
from dots.recipe import build_recipe
from dots.runs import builders


@pytest.mark.parametrize("half", [True, False])
def test_they_go_over_half_a(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: bool) -> None:
    """120 of 240 images; the epochs that train β too go over all of them."""
    counted: list[int] = []

    class Counting(TopologyStage):
        def step(self, epoch: int, step: int, pair: Any) -> Any:
            counted.extend([epoch] * len(pair[0].labels))
            return super().step(epoch, step, pair)

    monkeypatch.setattr(builders, "TopologyStage", Counting)
    overrides = [
        "data.limit=240", "nodes=2", "operations.cells=2", "topology.cells=2",
        "topology.weight_epochs=1", f"topology.weight_half={half}",
        "operations.epochs=1", "topology.epochs=2", "topology.lr_epochs=2",
    ]  # fmt: skip
    recipe = build_recipe("tiny", overrides=overrides)
    dots.search("digits", recipe, out=tmp_path / "run")
    assert [counted.count(epoch) for epoch in (0, 1)] == [120 if half else 240, 240]
