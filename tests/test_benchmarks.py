"""The benchmarks run, in small, and print what they promise; times are asserted nowhere."""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

SIZES = [
    f"--{name}={value}"
    for name, value in {
        "channels": 2, "cells": 2, "batch": 2, "size": 8, "threads": 1, "repeats": 1,
    }.items()
]  # fmt: skip
SPREAD = r"\d+\.\d+ / \d+\.\d+ / \d+\.\d+"
VERDICT = r"target at most [\d.]+(?: \w+| %)?: (?:not )?met$"


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    """What a benchmark prints, given its name and the words behind it."""

    def run(name: str, words: list[str]) -> str:
        import_module(name).main(words)
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("operation_step", ["ours / textbook"]),
        ("architecture_step", ["ours / textbook"]),
        ("topology_step", ["ours / textbook"] * 2),
        ("derived_step", ["ours / stock modules"]),
    ],
)
def test_steps_are_compared(printed: Any, name: str, lines: list[str]) -> None:
    words = [*SIZES, "--size=32"] if name == "derived_step" else SIZES  # the auxiliary head
    text = printed(name, words)
    assert re.findall(rf"^  (.*): {SPREAD}; {VERDICT}", text, flags=re.MULTILINE) == lines
    assert "channels, 2 cells, batch 2" in text
    assert "1 thread(s)" in text
    assert "PyTorch" in text


def test_gpu(printed: Any) -> None:
    """All rows, on a CPU; none once the time is over."""
    words = ["--device=cpu", "--channels=2", "--cells=3", "--batch=2", "--repeats=1", "--nodes=1"]
    text = printed("gpu", words)
    rows = [
        "w",
        "α",
        "topology",
        "training, bf16",
        "training",
        "w, bf16",
        "topology, bf16",
        "w, batch 8",
    ]
    assert [line for line in text.splitlines() if line in rows] == rows
    assert "\nw, batch 8\n" in text
    assert len(re.findall(rf"^  time, ours / textbook: .*; {VERDICT}", text, re.MULTILINE)) == 3
    assert re.search(rf"^paper-cifar search: [\d.]+ minutes; {VERDICT}", text, re.MULTILINE)
    assert re.search(r"^  \d+ kernels, .* ms in them; most in\n    ", text, re.MULTILINE)
    assert printed("gpu", [*words, "--seconds=0"]).count("not measured, the 0 s are over") == 8


def test_augmentation(printed: Any) -> None:
    text = printed("augmentation", ["--repeats", "2", "--batch", "4"])
    assert re.search(rf"ours: {SPREAD} ms .*; {VERDICT}", text, flags=re.MULTILINE)
    assert re.search(rf"ours / usual: {SPREAD}$", text, flags=re.MULTILINE)


def test_growth(printed: Any) -> None:
    text = printed("growth", [*SIZES, "--nodes", "1", "2", "--topology-cells", "1"])
    assert re.findall(r"^  (\d) nodes, (\d+) edges: ", text, flags=re.MULTILINE) == [
        ("1", "2"),
        ("2", "5"),
    ]
    assert len(re.findall(VERDICT, text, flags=re.MULTILINE)) == 3
    assert re.search(r"up to 12 edges: .* % of a topology step", text)


def test_startup(printed: Any) -> None:
    text = printed("startup", ["--repeats", "1"])
    assert re.search(rf"dots --help: {SPREAD} s .*; {VERDICT}", text, flags=re.MULTILINE)
    assert "heavy modules loaded: none" in text


def test_worth(printed: Any, tmp_path: Path) -> None:
    """A second call reads what the first did; what was lost is done again."""
    few = [
        "data.limit=40", "operations.epochs=1", "operations.weight_epochs=0", "topology.epochs=1",
        "operations.cells=2", "topology.cells=2", "train.cells=2", "train.channels=2",
        "train.epochs=1", "train.warmup_epochs=0", "halving.cells=2", "halving.epochs=1",
    ]  # fmt: skip
    words = [str(tmp_path), "--preset=tiny", "--device=cpu", "--seeds", "0"]
    words += ["--data=digits,image_size=8", *(f"--set={one}" for one in few)]
    text = printed("worth", words)
    assert len(re.findall(r"^\| .* \|$", text, flags=re.MULTILINE)) == 1 + 6
    kept = json.loads((tmp_path / "digits/seed0/plain network.json").read_text())
    assert f"| plain network | {100 * kept['test_accuracy']:.2f} |" in text
    (tmp_path / "digits/seed0/plain network.json").unlink()
    again = printed("worth", words)
    assert again.splitlines()[-10:] == text.splitlines()[-10:]


def test_collapse(printed: Any, tmp_path: Path) -> None:
    """A search for each row, which a second call reads."""
    few = [
        "data.search_limit=40", "operations.epochs=1", "operations.weight_epochs=0",
        "operations.cells=2", "operations.channels=2", "topology.cells=2", "topology.channels=2",
    ]  # fmt: skip
    words = [str(tmp_path), "digits", "--spaces=s4", "--strategies=darts", "--seeds", "0"]
    text = printed("collapse", [*words, *(f"--set={one}" for one in few)])
    kept = json.loads((tmp_path / "s4/darts/seed0.json").read_text())
    assert 0 <= kept["unlearned"] <= 8
    assert f"| s4 | darts | {kept['unlearned']} | {kept['unlearned']:.1f} |" in text
    (tmp_path / "s4/darts/seed0.json").write_text('{"unlearned": 7, "cpu_seconds": 1.0}')
    assert "| s4 | darts | 7 | 7.0 | 1 of 1 | 1 |" in printed("collapse", words)


def test_threads(printed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With runs that do nothing."""
    script, ran = import_module("threads"), []
    monkeypatch.setattr(script, "processors", lambda: 2)
    monkeypatch.setattr(script, "run_once", lambda words, variables: ran.append(variables))
    text = printed("threads", ["--repeats", "1"])
    ways = re.findall(r"^ +(\w.*): [\d.]+ / [\d.]+ / [\d.]+, [\d.]+", text, flags=re.MULTILINE)
    assert ways == ["default", "1 passive", "2 passive", "2 spinning"] * 2
    assert len(re.findall(VERDICT, text, flags=re.MULTILINE)) == 2
    assert ran[:4] == list(script.ways(2).values())


def test_memory(printed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, where the peaks mean nothing."""
    memory = import_module("memory")
    names = ("textbook", "ours", "ours, low_memory and accumulate=4")
    monkeypatch.setattr(memory, "ROWS", {name: memory.ROWS[name] for name in names})
    monkeypatch.setattr(
        memory, "in_a_process", lambda script, request, _: memory.measure_here(request)
    )
    text = printed("memory", [*SIZES, "--batch=4"])
    rows = re.findall(r"^ +(\w.*): +-?\d+ MiB, [-\d.]+; [\d.]+ s, [\d.]+", text, flags=re.MULTILINE)
    assert rows == list(names)
    assert len(re.findall(VERDICT, text, flags=re.MULTILINE)) == 1


def test_ratios_go_turn_by_turn(capsys: pytest.CaptureFixture[str]) -> None:
    comparing = import_module("comparing")
    comparing.print_ratios({"a": [1.0, 1.0, 3.0], "b": [2.0, 4.0, 4.0]}, {"b": 0.5})
    text = capsys.readouterr().out
    assert "a / b: 0.250 / 0.500 / 0.750; target at most 0.5: met" in text


def test_a_process_answers_in_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import json, sys, os\nprint(json.dumps([sys.argv[2], os.environ['OMP_NUM_THREADS']]))"
    )
    answer = import_module("comparing").in_a_process(str(script), {"a": 1}, 3)
    assert answer == ['{"a": 1}', "3"]


def test_recipes(printed: Any, tmp_path: Path) -> None:
    """What --out holds is not trained again, and is in the mean."""
    few = "train.epochs=1,train.cells=2,train.channels=2"
    words = ["digits", "--preset=tiny", "--images", "limit=80", "--networks", "plain", "max-pool",
             "random-0", "--recipe", few, "--recipe", f"{few},train.lr=0.05", "--seeds", "100",
             "--out", str(tmp_path / "rows.jsonl")]  # fmt: skip
    text = printed("recipes", words)
    assert len(re.findall(r"^\| train.*\| 3 \|$", text, flags=re.MULTILINE)) == 2
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert len(lines) == 6
    assert printed("recipes", words) == text
    assert (tmp_path / "rows.jsonl").read_text().splitlines() == lines
