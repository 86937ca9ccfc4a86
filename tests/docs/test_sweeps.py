"""The examples of sweeps run, prune, and see no test image; the page shows them as they are."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import dots
from helpers.doc_pages import ROOT, blocks

QUICK = [
    "data.limit=120", "nodes=2", "operations.epochs=1", "operations.cells=2", "topology.epochs=2",
    "topology.cells=2", "train.cells=2", "halving.epochs=1",
]  # fmt: skip
WRAPPED = """
import runpy, sys, dots
full = dots.build_recipe
dots.build_recipe = lambda preset, overrides: full(preset, overrides=[*overrides, *{quick!r}])
sys.argv = {arguments!r}
runpy.run_path({path!r}, run_name="__main__")
"""


def run_example(name: str, place: Path, *arguments: str) -> str:
    """What an example prints, with searches of a second."""
    path = str(ROOT / "examples" / name)
    code = WRAPPED.format(quick=QUICK, arguments=[name, *arguments], path=path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_AIR_NEW_OUTPUT": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place, env=environment, capture_output=True, text=True,
        check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_page_shows_the_examples() -> None:
    shown = {block.title: block.text for block in blocks("docs/sweeps.md") if block.title}
    assert len(shown) == 2
    for name, text in shown.items():
        assert text == (ROOT / name).read_text()


def test_on_epoch_hears_every_row_and_may_end_the_search(tmp_path: Path) -> None:
    rows: list[tuple[str, int]] = []

    def stop(row: dict[str, object]) -> None:
        rows.append((str(row["stage"]), int(str(row["epoch"]))))
        if row["stage"] == "topology":
            raise KeyError("enough")

    recipe = dots.build_recipe("tiny", overrides=QUICK)
    with pytest.raises(KeyError, match="enough"):
        dots.search("digits", recipe, out=tmp_path / "run", on_epoch=stop)
    assert rows == [("operations", 0), ("topology", 0)]
    assert not (tmp_path / "run/genotype.json").exists()


@pytest.mark.slow
def test_optuna(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="needs optuna: pip install 'dots-nas[optuna]'")
    printed = run_example("sweep_optuna.py", tmp_path, "digits", "sweep", "3")
    best = float(printed.split()[-1])
    reached = []
    for path in sorted((tmp_path / "sweep").iterdir()):
        assert not (path / "test.json").exists()
        if (path / "halving.json").exists():
            cells = json.loads((path / "halving.json").read_text())["cells"]
            reached += [c["validation"][0]["accuracy"] for c in cells if c["origin"] == "searched"]
    assert len(reached) >= 2
    assert best == max(reached)


def test_optuna_prunes_a_trial_that_is_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optuna = pytest.importorskip("optuna", reason="needs optuna: pip install 'dots-nas[optuna]'")
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    example = import_module("sweep_optuna")

    def search(data: str, recipe: object, *, out: Path, on_epoch: object) -> None:
        assert callable(on_epoch)
        number = int(out.name.removeprefix("trial-"))
        on_epoch({"stage": "topology", "epoch": 0, "accuracy": 1.0 - number / 10})
        out.mkdir(parents=True)
        cell = {"origin": "searched", "validation": [{"accuracy": 0.5, "loss": 1.0}]}
        (out / "halving.json").write_text(json.dumps({"cells": [cell]}))

    monkeypatch.setattr(dots, "search", search, raising=False)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner(2))
    study.optimize(lambda trial: example.objective(trial, "digits", tmp_path), n_trials=3)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE", "PRUNED"]


@pytest.mark.slow
def test_ray_tune(tmp_path: Path) -> None:
    pytest.importorskip("ray.tune", reason="needs Ray Tune: pip install 'dots-nas[ray]'")
    printed = run_example("sweep_ray.py", tmp_path, "digits", "2").splitlines()
    config, accuracy = printed[-1].rsplit(" ", 1)
    assert ast.literal_eval(config)["data"] == "digits"
    assert 0 < float(accuracy) <= 1
