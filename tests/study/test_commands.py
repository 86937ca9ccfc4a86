"""dots study on the command line: whole studies, Ctrl-C, kill, resume, mistakes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dots.cli.app import run
from dots.zoo.nasbench201 import all_strings
from helpers.children import one_thread

FAST = [
    "--preset", "tiny", "--device", "cpu", "--quiet", "--set", "data.limit=60",
    "--set", "operations.epochs=1", "--set", "operations.weight_epochs=0",
    "--set", "topology.epochs=1", "--set", "train.epochs=1", "--set", "train.channels=4",
]  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of all cells with made-up accuracies."""
    path = tmp_path_factory.mktemp("table") / "table.parquet"
    cells = all_strings()
    values = np.random.default_rng(0).uniform(10, 94, len(cells))
    pq.write_table(pa.table({"arch": cells, "cifar10_test": values}), path)
    return path


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "dots", "study", *map(str, words)]


def start(words: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    with open(log, "wb") as file:
        return subprocess.Popen(words, stdout=file, stderr=file, env=one_thread())


def wait_for_trials(folder: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until so many trials have ended."""
    deadline = time.monotonic() + 300
    while len(list(folder.glob("trials/*/trial.json"))) < count:
        assert process.poll() is None, "it ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_ctrl_c_and_a_kill_lose_no_trial_that_had_ended(table: Path, tmp_path: Path) -> None:
    folder, log = tmp_path / "study", tmp_path / "log"
    begin = command(
        "repeat", "digits", "--space", "nasbench201", "--table", table, "--seeds", "0,1,2,3",
        "--out", folder, *FAST,
    )  # fmt: skip
    resume = command("repeat", "--resume", folder, "--quiet", "--device", "cpu")

    process = start(begin, log)
    wait_for_trials(folder, 1, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
    assert f"continue with: dots study repeat --resume {folder}" in log.read_text()

    process = start(resume, log)
    wait_for_trials(folder, 2, process)
    process.kill()
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in folder.glob("trials/*/trial.json")}
    assert 2 <= len(done) < 4, "killed in between"

    process = start(resume, log)
    assert process.wait(300) == 0, log.read_text()
    assert all(path.stat().st_mtime_ns == when for path, when in done.items()), "done once"
    content = json.loads((folder / "study.json").read_text())
    assert content["complete"]
    assert [row["seed"] for row in content["rows"]] == [0, 1, 2, 3]
    assert all(row["error"] is None for row in content["rows"])
    assert "4 seeds (0, 1, 2, 3)" in log.read_text()


def test_searching_with_a_table_ends_with_the_truth(table: Path, tmp_path: Path) -> None:
    words = [
        "search", "digits", "--space", "nasbench201", "--table", str(table), "--out",
        str(tmp_path / "run"), *FAST,
    ]  # fmt: skip
    assert run(words) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["test_accuracy"] is None
    assert set(result["truth"]["cifar10_test"]) == {"accuracy", "rank", "percentile"}
    assert result["truth_best"]["cifar10_test"]["rank"] == 1
    assert result["truth_random"]["cifar10_test"]["accuracy"] == pytest.approx(52, abs=1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plug-in"], "no DATA"),
        (["plug-in", "digits", "--seeds", "0,x"], "--seeds 0,x: give whole numbers"),
        (["plug-in", "digits", "--seeds", "-1"], "from 0 to"),
        (["plug-in", "digits", "--strategies", "dart"], "did you mean"),
        (["plug-in", "nowhere"], "no data 'nowhere'"),
        (["plug-in", "digits", "--workers", "0"], "--workers"),
        (["rank", "digits", "--space", "nasbench201"], "give --table"),
        (["rank", "digits", "--table", "absent.parquet"], "'nasbench201' alone, not for 'darts'"),
        (["repeat", "digits", "--strategy", "nonsense"], "unknown strategy 'nonsense'"),
        (["repeat", "--resume", "absent"], "no study 'absent'"),
        (["ablation", "digits", "--device", "abacus"], "unknown device 'abacus'"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["study", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_resuming_takes_no_new_settings_and_the_right_command(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from dots.recipe import build_recipe
    from dots.study.directory import StudyDirectory
    from dots.study.options import Options

    asked = Options(data="digits", recipe=build_recipe("tiny"), seeds=(0,))
    StudyDirectory.create("repeat", asked, out=tmp_path / "study").close()
    folder = str(tmp_path / "study")
    assert run(["study", "repeat", "--resume", folder, "--set", "seed=3"]) == 2
    assert "leave out --set" in capsys.readouterr().err
    assert run(["study", "rank", "--resume", folder]) == 2
    assert "continue it with dots study repeat" in capsys.readouterr().err
    (tmp_path / "study" / "plan.json").write_text('{"version": 1, "study": "repeat"}')
    assert run(["study", "repeat", "--resume", folder]) == 2
    assert "damaged" in capsys.readouterr().err


@pytest.mark.slow
def test_plug_in_on_digits_end_to_end(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    words = [
        "plug-in", "digits", "--preset", "tiny", "--seeds", "0", "--strategies", "darts,random",
        "--out", str(folder), "--quiet", "--workers", "2",
    ]  # fmt: skip
    assert run(["study", *words]) == 0
    content = json.loads((folder / "study.json").read_text())
    assert [(row["strategy"], row["topology_search"]) for row in content["rows"]] == [
        ("darts", False), ("darts", True), ("random", False), ("random", True),
        ("random cell", None),
    ]  # fmt: skip
    for row in content["rows"]:
        assert row["error"] is None
        assert row["parameters"] > 0
        assert 0 <= row["accuracy"] <= 1
    searched = content["rows"][:2]
    assert 0 < searched[0]["seconds"] < searched[1]["seconds"]
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")
