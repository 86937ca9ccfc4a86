"""Whole runs through the command line, on real digits."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import dots
from dots.cli.app import run
from dots.common.files import read_json
from dots.data import DataInfo
from helpers.killing import Killer

QUICKEST = [
    "--preset", "tiny", "--quiet", "--device", "cpu",
    "--set", "data.limit=300", "--set", "train.epochs=6", "--set", "operations.cells=2",
    "--set", "nodes=2",
    "--set", "topology.cells=2", "--set", "train.cells=2",
]  # fmt: skip


def _dots(*words: str) -> None:
    assert run(list(words)) == 0


def _apart(killer: Killer, *words: str) -> None:
    """In a process of its own, as all runs that are compared: `--ulp` reaches none of them."""
    end = killer.run(*words)
    assert end.status == 0, end.said


@pytest.fixture(scope="module")
def folder(killer: Killer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A place where one whole run, with both baselines, lies in `first`."""
    path = tmp_path_factory.mktemp("runs")
    _apart(killer, "run", "digits", "--out", str(path / "first"), "--baselines", *QUICKEST)
    yield path
    shutil.rmtree(path)


CONTRACT = [
    "recipe.json", "environment.json", "metrics.jsonl", "metrics.csv", "candidates.json",
    "genotype.json", "result.json", "report.html", "architecture.jsonl", "splits.json",
    "data.json", "network.json", "weights.safetensors", "test.json", "samples.json",
]  # fmt: skip


def test_every_file_of_the_contract_is_there(folder: Path) -> None:
    first = folder / "first"
    assert [name for name in CONTRACT if not (first / name).is_file()] == []
    assert list((first / "checkpoints").glob("*.safetensors"))
    assert list((first / "tensorboard").glob("events*"))


def test_result_holds_what_scripts_rely_on(folder: Path) -> None:
    result = json.loads((folder / "first/result.json").read_text())
    keys = {
        "test_accuracy", "test_top5", "balanced_accuracy", "parameters", "multiply_adds",
        "search_seconds", "search_cpu_seconds", "train_seconds", "seed", "baselines",
    }  # fmt: skip
    assert keys <= result.keys()
    assert set(result["baselines"]) == {"random", "darts-policy"}
    assert 0.2 < result["test_accuracy"] <= result["test_top5"] <= 1
    assert result["parameters"] > 1000
    assert result["search_seconds"] > 0


def test_metrics_and_architecture_cover_every_epoch(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "first/metrics.jsonl").read_text().splitlines()]
    stages = [row["stage"] for row in rows]
    expected = ["operations"] * 2 + ["topology"] * 2
    expected += ["train"] * 6 + ["train-random"] * 6 + ["train-darts-policy"] * 6
    assert stages == expected
    lines = (folder / "first/architecture.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    assert {"alpha", "beta", "gamma", "temperature"} <= last.keys()
    assert last["temperature"] == pytest.approx(0.02)
    for gamma in last["gamma"].values():
        assert sum(gamma) == pytest.approx(2, abs=1e-4)  # one for each node


TIMES = ("seconds", "cpu_seconds", "search_seconds", "search_cpu_seconds", "train_seconds")


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_times(v) for k, v in value.items() if k not in TIMES}
    return [_without_times(v) for v in value] if isinstance(value, list) else value


def _same(one: Path, other: Path, *, but: tuple[str, ...] = ()) -> None:
    """Every file of two runs agrees, times and what names the place aside."""
    for name in ("candidates.json", "genotype.json", "result.json", "test.json", "samples.json",
                 "recipe.json", "splits.json", "network.json", "genotype-random.json"):  # fmt: skip
        if name not in but:
            a, b = ((path / name).read_text() for path in (one, other))
            assert _without_times(json.loads(a)) == _without_times(json.loads(b)), name
    for name in ("metrics.jsonl", "architecture.jsonl"):
        rows = [
            [_without_times(json.loads(line)) for line in (path / name).read_text().splitlines()]
            for path in (one, other)
        ]
        assert rows[0] == rows[1], name
    assert (one / "weights.safetensors").read_bytes() == (
        other / "weights.safetensors"
    ).read_bytes()


def test_the_same_seed_gives_the_same_files(killer: Killer, folder: Path) -> None:
    _apart(killer, "run", "digits", "--out", str(folder / "again"), "--baselines", *QUICKEST)
    _same(folder / "first", folder / "again")


def test_another_seed_gives_another_search(folder: Path) -> None:
    out = folder / "other"
    _dots("search", "digits", "--out", str(out), "--seed", "1", *QUICKEST)
    assert (out / "candidates.json").read_text() != (folder / "first/candidates.json").read_text()
    assert json.loads((out / "result.json").read_text())["test_accuracy"] is None


def test_parts_give_what_the_whole_gives(killer: Killer, folder: Path) -> None:
    """search --until operations, then search --candidates, then train, as run does."""
    operations, topology = folder / "operations", folder / "topology"
    _apart(killer, "search", "digits", "--until", "operations", "--out", str(operations), *QUICKEST)
    assert not (operations / "genotype.json").exists()
    candidates = str(operations / "candidates.json")
    _apart(
        killer, "search", "digits", "--candidates", candidates, "--out", str(topology), *QUICKEST
    )
    found = (topology / "genotype.json").read_text()
    assert found == (folder / "first/genotype.json").read_text()
    trained = folder / "trained"
    _apart(
        killer, "train", str(topology / "genotype.json"), "digits", "--out", str(trained), *QUICKEST
    )
    for key in ("test_accuracy", "test_loss", "parameters"):
        whole, part = (
            read_json(p / "result.json", what="")[key] for p in (folder / "first", trained)
        )
        assert whole == part


def test_test_and_predict_agree_with_the_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _dots("test", str(folder / "first"), "digits", "--json")
    shown = json.loads(capsys.readouterr().out)
    result = json.loads((folder / "first/result.json").read_text())
    assert shown["test_accuracy"] == result["test_accuracy"]
    assert shown["test_loss"] == pytest.approx(result["test_loss"], rel=1e-5)


def test_load_gives_the_network_with_its_classes(folder: Path) -> None:
    network = dots.load(folder / "first")
    assert network.classes == tuple("0123456789")
    assert isinstance(network.info, DataInfo)
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_report_and_recipe_can_be_made_anew(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _dots("report", str(folder / "first"))
    page = (folder / "first/report.html").read_text()
    result = json.loads((folder / "first/result.json").read_text())
    assert f"{100 * result['test_accuracy']:.2f}" in page
    _dots("recipe", "--recipe", str(folder / "first"))
    assert "weight_decay" in capsys.readouterr().out


def test_a_dry_run_goes_through_every_stage_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _dots("run", "digits", "--dry-run", *QUICKEST)
    assert "one batch" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_keeps_its_directory_when_told_where(tmp_path: Path) -> None:
    out = tmp_path / "dry"
    _dots("run", "digits", "--dry-run", "--out", str(out), *QUICKEST)
    assert (out / "report.html").is_file()
    rows = (out / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == 4


def _started(out: Path) -> subprocess.Popen[bytes]:
    words = ["run", "digits", "--out", str(out), "--baselines", *QUICKEST]
    return subprocess.Popen(
        [sys.executable, "-m", "dots", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
    )


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if path.exists() and path.stat().st_size > 0:
            return
        assert process.poll() is None
        time.sleep(0.1)
    raise AssertionError(f"{path} did not appear")


def test_a_signal_saves_and_resume_equals_uninterrupted(
    killer: Killer, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "stopped"
    process = _started(out)
    _wait_for(out / "metrics.jsonl", process)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert f"dots run --resume {out}".encode() in error
    _apart(killer, "run", "--resume", str(out), "--quiet", "--device", "cpu")
    _same(folder / "first", out)


@pytest.mark.parametrize(
    ("at", "number", "status"),
    [
        pytest.param((1, "-operations.safetensors"), signal.SIGTERM, 143, marks=pytest.mark.slow),
        ((1, "candidates.json"), signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_a_stopped_or_killed_run_resumes_to_the_same_result(
    killer: Killer,
    folder: Path,
    tmp_path: Path,
    at: tuple[int, str],
    number: signal.Signals,
    status: int,
) -> None:
    out = tmp_path / "killed"
    words = ("run", "digits", "--out", str(out), "--baselines", *QUICKEST)
    end = killer.run(*words, at=("replace", *at), signal=number)
    assert end.status == status, end.said
    if number != signal.SIGKILL:
        assert f"dots run --resume {out}" in end.said
    _apart(killer, "run", "--resume", str(out), "--quiet", "--device", "cpu")
    _same(folder / "first", out)


def test_resume_refuses_other_settings(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--resume", str(folder / "first"), "--set", "train.epochs=9"]
    assert run(words) == 2
    assert "--set" in capsys.readouterr().err


def test_a_finished_run_can_be_resumed_and_stays(folder: Path) -> None:
    before = (folder / "first/result.json").read_text()
    _dots("run", "--resume", str(folder / "first"), "--quiet")
    assert (folder / "first/result.json").read_text() == before
