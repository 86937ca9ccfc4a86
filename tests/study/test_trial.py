"""A real trial: what it gives, and that it goes on where it was stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from dots.common.records import RESULT
from dots.recipe import Recipe, build_recipe
from dots.runs.launch import Machine
from dots.space.genotype import Genotype
from dots.study.trial import RUN, run_trial, search_spec, train_spec

SMALL = [
    "space=nasbench201", "baselines=[]", "data.limit=60", "operations.epochs=1",
    "operations.weight_epochs=0", "topology.epochs=2", "train.epochs=2", "train.channels=4",
]  # fmt: skip
CPU = Machine(device="cpu")


def recipe(*overrides: str) -> Recipe:
    return build_recipe("tiny", overrides=[*SMALL, *overrides])


def done(spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The result of a trial, as it crosses to another process."""
    folder.mkdir(exist_ok=True)
    return json.loads(json.dumps(run_trial(json.loads(json.dumps(spec)), str(folder))))


def without_times(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if "seconds" not in name}


def test_a_search_says_what_it_found_and_the_topology_alone_can_be_searched_again(
    tmp_path: Path,
) -> None:
    found = done(search_spec("digits", recipe(), CPU), tmp_path / "search")
    Genotype.from_json(found["genotype"]).check_buildable()
    assert found["policy"]["space"] == "nasbench201"
    assert found["seconds"]["operations"] > 0
    assert [len(row) for row in found["topology"]["beta"]["normal"]] == [1, 3, 7]
    kept = set(found["topology"]["kept_edges"]["normal"])
    operations = found["topology"]["operations"]["normal"]
    edges = [edge for node in found["genotype"]["normal"] for edge in node]
    assert [edge["op"] for edge in edges] == [operations[index] for index in sorted(kept)]
    assert [entry["epoch"] for entry in found["history"]] == [0, 1]
    last = found["history"][-1]
    raw = found["topology"]["beta"]["normal"][2]
    expected = torch.softmax(torch.tensor(raw) / last["temperature"], 0)
    assert last["beta"]["normal"][2] == pytest.approx(expected.tolist())
    assert not (tmp_path / "search" / RUN / "checkpoints").exists()
    assert done(search_spec("digits", recipe(), CPU), tmp_path / "search") == found, "finished"

    given = found["candidates"]
    sigmoid = recipe("topology.parameterisation=sigmoid")
    again = done(search_spec("digits", sigmoid, CPU, given), tmp_path / "again")
    assert again["seconds"]["operations"] == 0
    assert again["candidates"] == given
    assert [len(row) for row in again["topology"]["beta"]["normal"]] == [1, 2, 3]
    single = {**given, "candidates": {"normal": [["nor_conv_3x3"]] * 6}, "scores": None}
    fixed = done(search_spec("digits", recipe(), CPU, single), tmp_path / "fixed")
    assert fixed["policy"] is None
    assert fixed["topology"]["operations"]["normal"] == ["nor_conv_3x3"] * 6


@pytest.mark.parametrize("lost", ["recipe.json", "genotype.json"])
def test_a_trial_that_died_goes_on_and_gives_the_same(lost: str, tmp_path: Path) -> None:
    """In its beginning, whose last file is the recipe, or after its search."""
    spec = search_spec("digits", recipe(), CPU)
    whole = done(spec, tmp_path / "whole")
    run = tmp_path / "torn" / RUN
    shutil.copytree(tmp_path / "whole" / RUN, run)
    (run / "result.json").unlink()
    if lost == "recipe.json":
        (run / lost).unlink()
        (run / "genotype.json").write_text("torn")
    assert without_times(done(spec, tmp_path / "torn")) == without_times(whole)


def test_a_training_is_tested_and_repeatable(tmp_path: Path) -> None:
    genotype = Genotype.from_json(
        done(search_spec("digits", recipe(), CPU), tmp_path / "search")["genotype"]
    )
    spec = train_spec("digits", recipe(), CPU, genotype)
    first = done(spec, tmp_path / "first")
    assert 0 <= first["test_accuracy"] <= 1
    assert first["parameters"] > 0
    assert RESULT in {path.name for path in (tmp_path / "first" / RUN).iterdir()}
    assert without_times(done(spec, tmp_path / "second")) == without_times(first)
