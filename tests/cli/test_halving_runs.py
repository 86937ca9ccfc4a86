"""Successive halving in whole runs: planted cells, budgets, kills, and what it may look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from dots.cli.app import run
from dots.networks.body import Shape
from dots.networks.count import network_cost
from dots.recipe import build_recipe
from dots.runs.further_training import INITIAL
from dots.runs.launch import Job, Machine, begin
from dots.runs.progress import Silent
from dots.runs.stages import choose_cell, search_operations, search_topology
from dots.space.genotype import Cell, Edge, Genotype
from dots.zoo.dense import dense_form
from helpers.killing import QUICKEST, Killer
from helpers.run_equality import differing, without_times

HALVING = (
    "--set", "halving.cells=4", "--set", "halving.epochs=1", "--set", "halving.warm_start=true",
    "--set", "baselines=random,plain,published",
)  # fmt: skip
SEARCH = (
    "--set", "operations.epochs=1", "--set", "operations.weight_epochs=0",
    "--set", "topology.epochs=1", "--set", "train.epochs=1", "--set", "train.warmup_epochs=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(killer: Killer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("halving") / "run"
    end = killer.run("run", "digits", "--out", str(out), *QUICKEST, *SEARCH, *HALVING)
    assert end.status == 0, end.said
    return out


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_the_winner_is_what_is_trained(finished: Path) -> None:
    record = read(finished / "halving.json")
    origins = [cell["origin"] for cell in record["cells"]]
    assert origins[0] == "searched"
    assert len(origins) == 4
    won = record["cells"][origins.index(record["winner"])]
    best = max(record["cells"], key=lambda cell: len(cell["validation"]))
    assert len(won["validation"]) == len(best["validation"])
    assert won["genotype"] == read(finished / "genotype.json")
    assert won["genotype"] == read(finished / "network.json")["genotype"]
    assert record["cells"][0]["genotype"] == read(finished / "genotype-searched.json")
    result = read(finished / "result.json")
    assert result["origin"] == record["winner"]
    # No published cell has two nodes.
    assert set(result["baselines"]) == {"random", "plain"}
    assert result["baselines"]["plain"]["reference"] == "plain"
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    searches = ("operations", "topology", "halving")
    spent = sum(
        row["seconds"] + row.get("validation_seconds", 0)
        for row in rows
        if row["stage"] in searches
    )
    assert result["search_seconds"] == pytest.approx(spent, abs=0.01)
    assert "Which cell was trained" in (finished / "report.html").read_text()


def test_the_training_begins_with_the_weights_of_the_winner(tmp_path: Path) -> None:
    """One that moves nothing shows them; without a warm start they are others."""
    still = ["--set", "train.lr=1e-30", "--set", "train.weight_decay=0", "--set", "baselines="]
    networks = []
    for warm in ("true", "false"):
        out = tmp_path / warm
        words = ["--out", str(out), *QUICKEST, *SEARCH, *HALVING, *still]
        assert run(["run", "digits", *words, "--set", f"halving.warm_start={warm}"]) == 0
        networks.append(load_file(out / "weights.safetensors"))
        assert (out / INITIAL).exists() == (warm == "true")
    began = load_file(tmp_path / "true" / INITIAL)
    for name, value in networks[0].items():
        if name.endswith("weight"):
            assert torch.equal(value, began[name]), name
    kernels = [name for name, value in began.items() if value.dim() == 4]
    assert all(not torch.equal(networks[1][name], began[name]) for name in kernels)


def test_a_dense_run_trains_dense_cells(finished: Path, tmp_path: Path) -> None:
    """The search is as without; a cell that is given to `dots train` stays as it is."""
    out = tmp_path / "run"
    dense = ("--set", "halving.dense=true")
    assert run(["run", "digits", "--out", str(out), *QUICKEST, *SEARCH, *HALVING, *dense]) == 0
    before, after = (read(path / "halving.json")["cells"] for path in (finished, out))
    for separable, changed in zip(before, after, strict=True):
        assert separable["origin"] == changed["origin"]
        form = dense_form(Genotype.from_json(separable["genotype"]))
        assert Genotype.from_json(changed["genotype"]) == form
    assert read(out / "genotype-searched.json") == read(finished / "genotype-searched.json")
    won = read(out / "halving.json")["winner"]
    chosen = next(cell["genotype"] for cell in after if cell["origin"] == won)
    assert read(out / "genotype.json") == chosen == read(out / "network.json")["genotype"]
    random = Genotype.load(finished / "genotype-random.json")
    assert Genotype.load(out / "genotype-random.json") == dense_form(random) != random
    words = ["train", str(finished), "digits", "--baselines", "--out", str(tmp_path / "given")]
    assert run([*words, *QUICKEST, *SEARCH[-4:], *dense]) == 0
    assert read(tmp_path / "given/genotype.json") == read(finished / "genotype.json")
    assert Genotype.load(tmp_path / "given/genotype-random.json") == random


@pytest.mark.parametrize("at", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_kill_in_the_halving_changes_nothing(
    killer: Killer, finished: Path, tmp_path: Path, at: int
) -> None:
    out = tmp_path / "run"
    words = ("run", "digits", "--out", str(out), *QUICKEST, *SEARCH, *HALVING)
    assert killer.run(*words, at=("replace", at, "-halving.safetensors")).status == -9
    end = killer.run("run", "--resume", str(out), "--quiet")
    assert end.status == 0, end.said
    assert differing(finished, out) == []
    records = [without_times(read(run / "halving.json")) for run in (finished, out)]
    assert records[0] == records[1]


def test_every_competitor_keeps_to_the_budget(finished: Path, tmp_path: Path) -> None:
    cells = [
        Genotype.from_json(cell["genotype"]) for cell in read(finished / "halving.json")["cells"]
    ]
    shape = Shape(2, 8, 1, 10)
    limit = max(network_cost(cell, shape, 8).parameters for cell in cells) - 1
    out = tmp_path / "run"
    words = ["--max-params", str(limit), *QUICKEST, *SEARCH, *HALVING]
    assert run(["search", "digits", "--out", str(out), *words]) == 0
    record = read(out / "halving.json")
    assert len(record["cells"]) > 1
    for cell in record["cells"]:
        assert network_cost(Genotype.from_json(cell["genotype"]), shape, 8).parameters <= limit


def pairs(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pairs of dots three pixels apart, side by side (0) or one above the other (1).

    Dots alone are the same in both classes: what sees no two of them at once learns nothing.
    """
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, count)
    images = np.zeros((count, 12, 12, 1), np.uint8)
    for image, label in zip(images, labels, strict=True):
        for y, x in draw.integers(0, 12, (3, 2)):
            image[y, x] = 255
            image[(y + 3 * label) % 12, (x + 3 * (1 - label)) % 12] = 255
    return images, labels


def cell_of(op: str) -> Genotype:
    """The same operation on two edges of both nodes."""
    cell = Cell(((Edge(op, 0), Edge(op, 1)), (Edge(op, 1), Edge(op, 2))), (2, 3))
    return Genotype({"normal": cell, "reduce": cell})


def test_a_searched_cell_of_skips_loses_to_one_that_sees_more_than_the_stem(tmp_path: Path) -> None:
    (x, y), (x_test, y_test) = pairs(400, 0), pairs(20, 1)
    np.savez(tmp_path / "pairs.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    recipe = build_recipe(
        "tiny",
        overrides=[
            "nodes=2", "data.flip=false", "data.crop=0", "operations.epochs=1",
            "operations.weight_epochs=0", "topology.epochs=1", "operations.cells=2",
            "topology.cells=2", "train.cells=2", "train.batch=32", "halving.cells=3",
            "halving.epochs=8",
        ],
    )  # fmt: skip
    job, machine = Job("search", str(tmp_path / "pairs.npz")), Machine(device="cpu")
    data = tmp_path / "pairs.npz"
    with begin(
        data, recipe, job, machine=machine, watcher=Silent(), out=tmp_path / "run"
    ) as session:
        candidates = search_operations(session)
        search_topology(session, candidates)
        (tmp_path / "run/genotype-darts-policy.json").write_text(cell_of("sep_conv_5x5").to_text())
        chosen = choose_cell(session, candidates, cell_of("skip_connect"))
    record = read(tmp_path / "run/halving.json")
    reached = [cell["validation"][-1]["accuracy"] for cell in record["cells"]]
    origins = [cell["origin"] for cell in record["cells"]]
    assert origins == ["searched", "random-1", "darts-policy"]
    assert record["winner"] != "searched"
    genotypes = {cell["origin"]: cell["genotype"] for cell in record["cells"]}
    assert chosen == Genotype.from_json(genotypes[record["winner"]])
    assert reached[0] + 0.1 < reached[2]
