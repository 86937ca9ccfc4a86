"""Every strategy searches a cell in every other space, or refuses by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from dots.common.errors import UserError
from dots.nas.strategies import STRATEGIES
from dots.recipe import build_recipe
from dots.runs.launch import Machine
from dots.space.genotype import Genotype
from dots.study.trial import run_trial, search_spec

SMALL = [
    "baselines=[]", "data.limit=60", "operations.epochs=2", "operations.weight_epochs=0",
    "topology.epochs=1",
]  # fmt: skip
REFUSING = {
    ("drop-nas", "s4"),  # no two groups
    ("p-darts", "s4"),  # no skips
    ("darts-plus", "s4"),
    ("merge-nas", "s2"),  # no two convolutions to merge
    ("merge-nas", "s3"),
    ("merge-nas", "s4"),
}


@pytest.mark.slow
@pytest.mark.parametrize("space", ["nasbench201", "s2", "s3", "s4"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_strategy_searches_a_space_from_end_to_end(
    strategy: str, space: str, tmp_path: Path
) -> None:
    recipe = build_recipe("tiny", overrides=[f"space={space}", f"strategy={strategy}", *SMALL])
    spec = search_spec("digits", recipe, Machine(device="cpu"))
    if (strategy, space) in REFUSING:
        with pytest.raises(UserError, match=rf"(?=.*{strategy!r})(?=.*{space!r})"):
            run_trial(spec, str(tmp_path))
        return
    found = run_trial(spec, str(tmp_path))
    for name in ("genotype", "policy"):
        assert Genotype.from_json(found[name]).space == space
    Genotype.from_json(found["genotype"]).check_buildable()
