"""dots run --devices 2: one run of two processes, killed, stopped and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.children import one_thread
from helpers.killing import QUICKEST
from helpers.run_equality import differing


def _start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dots", *words, "--devices", "2"],
        env=one_thread(),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _begin(out: Path) -> subprocess.Popen[str]:
    return _start("run", "digits", "--out", str(out), *QUICKEST)


def _resume(out: Path) -> None:
    process = _start("run", "--resume", str(out), "--quiet", "--device", "cpu")
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("two") / "run"
    process = _begin(out)
    shown, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert shown.count("found cell") == 1  # the main process alone speaks
    return out


def test_a_run_of_two_processes(undisturbed: Path) -> None:
    result = json.loads((undisturbed / "result.json").read_text())
    assert result["test_images"] == 359  # each once
    assert sum(map(sum, json.loads((undisturbed / "test.json").read_text())["confusion"])) == 359
    assert json.loads((undisturbed / "machine.json").read_text())["processes"] == 2
    rows = (undisturbed / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == 2 + 2 + 3 + 3


def _child_of(parent: int) -> int:
    """The process that Fabric started beside the main one."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    for child in map(int, children):
        if "dots" in Path(f"/proc/{child}/cmdline").read_text():
            return child
    raise AssertionError("there is no second process")


def _wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    for _ in range(1200):
        if path.exists() and path.stat().st_size:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")


def _gone(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text()
    except OSError:
        return True
    return state.rpartition(")")[2].split()[0] == "Z"


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("victim", ["main", "other"])
def test_a_killed_process_ends_the_run_which_can_be_resumed(
    undisturbed: Path, tmp_path: Path, victim: str
) -> None:
    out = tmp_path / "run"
    process = _begin(out)
    _wait_for(out / "candidates.json", process)
    other = _child_of(process.pid)
    os.kill(process.pid if victim == "main" else other, signal.SIGKILL)
    _, error = process.communicate(timeout=60)
    assert process.returncode != 0
    if victim == "other":
        assert "another process of this run has ended" in error
    for _ in range(100):
        if _gone(other):
            break
        time.sleep(0.1)
    assert _gone(other)
    _resume(out)
    assert differing(undisturbed, out) == []


@pytest.mark.slow
def test_a_signal_to_one_process_stops_both(undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = _begin(out)
    _wait_for(out / "candidates.json", process)
    process.terminate()
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "continue with: dots run --resume" in error
    _resume(out)
    assert differing(undisturbed, out) == []


@pytest.mark.slow
def test_torchrun_gives_the_same(undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["run", "digits", "--out", str(out), *QUICKEST]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    launcher += ["--master_port", "29611", "-m", "dots", *words]
    done = subprocess.run(launcher, env=one_thread(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert differing(undisturbed, out) == []


@pytest.mark.slow
def test_the_user_is_told_of_another_number_of_processes(tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    launcher += ["--master_port", "29612", "-m", "dots", "run", "digits", "--devices", "3"]
    launcher += ["--device", "cpu", "--out", str(tmp_path / "run")]
    done = subprocess.run(launcher, capture_output=True, check=False)
    assert done.returncode != 0
    assert b"--devices 3, but torchrun has started 2 processes" in done.stderr
