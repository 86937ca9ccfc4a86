"""Budgets on the command line, against every cell of a small space, counted one by one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from math import log
from pathlib import Path
from typing import Any

import pytest
import torch

from dots.cli.app import run
from dots.networks.body import Shape
from dots.networks.count import network_cost
from dots.networks.derived import DerivedNetwork
from dots.space.discretise import build_genotype
from dots.space.genotype import Genotype
from dots.space.search_space import darts_space

QUICKEST = [
    "--preset", "tiny", "--quiet", "--device", "cpu", "--set", "data.limit=60", "--set", "nodes=2",
    "--set", "operations.cells=2", "--set", "operations.epochs=1", "--set",
    "operations.weight_epochs=0", "--set", "topology.cells=2", "--set", "topology.epochs=1",
    "--set", "train.cells=2", "--set", "train.channels=4", "--set", "topology.edges=1",
]  # fmt: skip
SPACE = darts_space(2)
SHAPE = Shape(2, 4, 1, 10)


def softmax_logs(values: list[float]) -> list[float]:
    total = log(sum(torch.tensor(values, dtype=torch.float64).exp().tolist()))
    return [value - total for value in values]


def every_cell(run_directory: Path) -> Iterator[tuple[float, Genotype]]:
    """All cells that a search with one edge a node could give, with their log probabilities."""
    record = json.loads((run_directory / "topology.json").read_text())
    names = json.loads((run_directory / "candidates.json").read_text())["candidates"]
    per_kind: dict[str, list[tuple[float, dict[int, tuple[str]]]]] = {}
    for kind in SPACE.kinds:
        operations = []
        for edge, row in enumerate(record["alpha"][kind]):
            real = [(op, a) for op, a in zip(names[kind][edge], row, strict=False) if op != "none"]
            logs = softmax_logs([a for _, a in real])
            operations.append([(op, p) for (op, _), p in zip(real, logs, strict=True)])
        best = [max(p for _, p in choices) for choices in operations]
        nodes = []
        for incoming, beta in zip(SPACE.cell.incoming, record["beta"][kind], strict=True):
            nodes.append(
                [
                    (log_p + p + sum(best[e] for e in incoming if e != edge), edge, op)
                    for edge, log_p in zip(incoming, softmax_logs(beta), strict=True)
                    for op, p in operations[edge]
                ]
            )
        per_kind[kind] = [
            (sum(p for p, _, _ in picked), {edge: (op,) for _, edge, op in picked})
            for picked in product(*nodes)
        ]
    for (p, normal), (q, reduce) in product(per_kind["normal"], per_kind["reduce"]):
        yield p + q, build_genotype(SPACE, {"normal": normal, "reduce": reduce})


def parameters(genotype: Genotype) -> int:
    """Counted on the network itself."""
    with torch.device("meta"):
        return sum(p.numel() for p in DerivedNetwork(genotype, SHAPE).parameters())


def search(out: Path, *more: str) -> Any:
    assert run(["search", "digits", "--out", str(out), *QUICKEST, *more]) == 0
    return json.loads((out / "alternatives.json").read_text())


def test_the_found_cell_is_the_most_probable_within_the_limit(tmp_path: Path) -> None:
    free = search(tmp_path / "free")
    assert free["chosen"]["log_probability"] == pytest.approx(free["top"][0]["log_probability"])
    cells = sorted(every_cell(tmp_path / "free"), key=lambda cell: -cell[0])
    assert Genotype.load(tmp_path / "free/genotype.json") == cells[0][1]
    limit = (parameters(cells[0][1]) + min(map(parameters, (cell for _, cell in cells)))) // 2
    within = search(tmp_path / "within", "--max-params", str(limit))
    found = Genotype.load(tmp_path / "within/genotype.json")
    expected = next(cell for _, cell in cells if parameters(cell) <= limit)
    assert found == expected
    assert within["limits"] == {"parameters": limit}
    assert within["chosen"]["costs"]["parameters"] == parameters(found)
    assert within["chosen"]["within_limits"]
    assert not within["top"][0]["within_limits"]
    tabled = (within["top"][0]["costs"], network_cost(cells[0][1], SHAPE, 8))
    assert tabled[0]["multiply_adds"] == tabled[1].multiply_adds


def test_an_impossible_budget_is_told_before_a_run_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert run(["run", "digits", "--out", str(out), *QUICKEST, "--max-params", "100"]) == 2
    message = capsys.readouterr().err
    assert "no cell of this search has at most 100 parameters: the least is" in message
    assert not out.exists()


def test_a_measured_table_bounds_the_latency(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "latency.json"
    sizes = [word for word in QUICKEST if word != "--quiet"]
    words = ["profile", "digits", "--out", str(table), *sizes, "--repeats", "2"]
    assert run(words) == 0
    assert "the rest of the network" in capsys.readouterr().out
    out = tmp_path / "run"
    limits = ["--latency-target", "500", "--latency-table", str(table)]
    content = search(out, *limits, "--set", "budget.weight=0.1")
    assert content["chosen"]["costs"]["nanoseconds"] <= 500e6
    assert json.loads((out / "latency.json").read_text()) == json.loads(table.read_text())
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert all(row["expected_nanoseconds"] > 0 for row in rows)
    assert run(["search", "digits", "--out", str(tmp_path / "x"), *QUICKEST, *limits,
                "--set", "train.channels=8"]) == 2  # fmt: skip
    assert "run dots profile again" in capsys.readouterr().err
    assert run(["search", "digits", "--out", str(tmp_path / "x"), *QUICKEST, *limits[2:]]) == 2
    assert "give --latency-target too" in capsys.readouterr().err


def test_a_resumed_run_keeps_its_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", "--resume", str(tmp_path), "--max-params", "9"]) == 2
    assert "leave out --max-params" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no DATA and no --image-size"),
        (["digits", "--classes", "3"], "are for profiles without DATA"),
        (["--image-size", "8", "--repeats", "0"], "--repeats 0"),
        (["--image-size", "8", "--classes", "0"], "must be from 1 up"),
    ],
)
def test_profiles_that_cannot_be(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "latency.json"), "--preset", "tiny"]
    assert run(["profile", *words, *out]) == 2
    assert message in capsys.readouterr().err


def test_a_training_needs_latencies_for_its_random_cell_alone(tmp_path: Path) -> None:
    limited = ["--set", "budget.latency_target=500"]
    words = ["train", "DOTS_C10", "digits", *QUICKEST, "--set", "train.epochs=1", *limited]
    alone, beside = tmp_path / "alone", tmp_path / "beside"
    assert run([*words, "--out", str(alone)]) == 0
    assert not (alone / "latency.json").exists()
    assert run([*words, "--out", str(beside), "--baselines"]) == 0
    assert (beside / "latency.json").is_file()
    assert (beside / "genotype-random.json").is_file()


def test_an_interrupted_search_ends_with_the_same_alternatives(tmp_path: Path) -> None:
    out = tmp_path / "run"
    epochs = ["--set", "topology.epochs=2"]
    limits = ["--latency-target", "500", "--max-params", "20000", "--set", "budget.weight=1"]
    search(out, *epochs, *limits)
    kept = ("genotype.json", "topology.json", "alternatives.json", "result.json")
    before = {name: (out / name).read_bytes() for name in kept[:3]}
    for name in kept:
        (out / name).unlink()
    newest = max((out / "checkpoints").iterdir(), key=lambda path: path.name)
    newest.unlink()  # the last epoch of the topology search has to be done again
    assert run(["search", "--resume", str(out), "--quiet", "--device", "cpu"]) == 0
    assert {name: (out / name).read_bytes() for name in before} == before
