"""What a resume finds: damage, another place, other settings, other data, no room, company."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from helpers.killing import QUICKEST, Killer
from helpers.run_equality import differing


@pytest.fixture(scope="module")
def stopped(killer: Killer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed while it trained; tests take copies."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    end = killer.run(
        "run", "digits", "--out", str(out), *QUICKEST, at=("replace", 3, "-train.safetensors")
    )
    assert end.status == -9
    assert len(list((out / "checkpoints").iterdir())) > 3
    return out


@pytest.fixture(scope="module")
def finished(undisturbed: tuple[Path, float]) -> Path:
    """The same, never killed."""
    return undisturbed[0]


@pytest.fixture
def copy(stopped: Path, tmp_path: Path) -> Path:
    shutil.copytree(stopped, tmp_path / "elsewhere" / "run")
    return tmp_path / "elsewhere" / "run"


@pytest.mark.parametrize("how", ["cut", "flipped"])
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_used(
    killer: Killer, copy: Path, finished: Path, how: str
) -> None:
    """The copy lies at another path too."""
    newest = max((copy / "checkpoints").iterdir())
    content = bytearray(newest.read_bytes())
    if how == "cut":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    end = killer.run("run", "--resume", str(copy))
    assert end.status == 0, end.said
    assert newest.name in end.said
    assert "the checkpoint before it is used" in end.said
    assert differing(copy, finished) == []


def test_a_run_in_use_is_refused(killer: Killer, copy: Path) -> None:
    with open(copy / "lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        end = killer.run("run", "--resume", str(copy), "--quiet")
    assert end.status == 2
    assert "is in use by" in end.said


def test_changed_settings_and_versions_are_told(killer: Killer, copy: Path) -> None:
    environment = json.loads((copy / "environment.json").read_text())
    environment["packages"]["torch"] = "1.0.0"
    environment["python"] = "2.7.18"
    (copy / "environment.json").write_text(json.dumps(environment))
    machine = {"device": "cuda", "processes": 4}
    (copy / "machine.json").write_text(json.dumps(machine))
    end = killer.run("run", "--resume", str(copy), "--extend", "1")
    assert end.status == 0, end.said
    for line in (
        "changed setting: train.epochs was 3, is 4",
        "torch was 1.0.0, is ",
        "python was 2.7.18, is ",
        "device was cuda, is cpu",
        "processes was 4, is 1",
    ):
        assert line in end.said


def test_changed_data_are_refused(killer: Killer, copy: Path) -> None:
    data = json.loads((copy / "data.json").read_text())
    data["classes"][0] = "nought"
    (copy / "data.json").write_text(json.dumps(data))
    end = killer.run("run", "--resume", str(copy), "--quiet")
    assert end.status == 2
    assert "the data have changed since the run began: classes was" in end.said


@pytest.mark.parametrize(
    "words",
    [
        ("--seed", "0"), ("--batch", "64"), ("--baselines",), ("--low-memory",),
        ("--compile",), ("--dry-run",),
        ("--time-limit", "2h"), ("--max-memory", "8G"), ("--preset", "tiny"), ("--out", "x"),
        ("--strategy", "darts"), ("--space", "darts"), ("--image-size", "8"),
        ("--set", "train.epochs=3"), ("--recipe", "r.toml"), ("--table", "t.parquet"),
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_no_option_is_ignored_on_resume(
    killer: Killer, stopped: Path, words: tuple[str, ...]
) -> None:
    """Also where it says what the run does anyway."""
    end = killer.run("run", "--resume", str(stopped), *words)
    assert end.status == 2
    assert f"leave out {words[0]}" in end.said


def test_no_option_of_other_commands_is_ignored(killer: Killer, stopped: Path) -> None:
    end = killer.run("search", "--resume", str(stopped), "--until", "operations")
    assert (end.status, "leave out --until" in end.said) == (2, True)
    end = killer.run("train", "DOTS_C10", "digits", "--resume", str(stopped))
    assert (end.status, "leave out GENOTYPE" in end.said) == (2, True)
    end = killer.run("run", "digits", "--extend", "3")
    assert (end.status, "--resume DIR" in end.said) == (2, True)
    end = killer.run("run", "--resume", str(stopped), "--extend", "0")
    assert (end.status, "from 1 up" in end.said) == (2, True)


def test_a_finished_training_can_be_extended(
    killer: Killer, finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    end = killer.run("run", "--resume", str(out), "--extend", "2", "--quiet")
    assert end.status == 0, end.said
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    old = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    for stage in ("train", "train-random"):
        epochs = [row["epoch"] for row in rows if row["stage"] == stage]
        assert sorted(epochs) == [0, 1, 2, 3, 4]
    assert all(row in rows for row in old)  # nothing is trained again
    before = json.loads((finished / "result.json").read_text())
    after = json.loads((out / "result.json").read_text())
    assert after["before_extension"][0]["epochs"] == 3
    assert after["before_extension"][0]["test_accuracy"] == before["test_accuracy"]
    assert after["test_loss"] != before["test_loss"]
    assert json.loads((out / "recipe.json").read_text())["train"]["epochs"] == 5
    (out / "result.json").unlink()
    again = killer.run("run", "--resume", str(out), "--quiet")
    assert again.status == 0, again.said
    assert json.loads((out / "result.json").read_text()) == after


@pytest.mark.slow
def test_an_extension_that_is_killed_goes_on(
    killer: Killer, finished: Path, tmp_path: Path
) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    for out in (whole, torn):
        shutil.copytree(finished, out)
    assert killer.run("run", "--resume", str(whole), "--extend", "3", "--quiet").status == 0
    words = ("run", "--resume", str(torn), "--extend", "3", "--quiet")
    assert killer.run(*words, at=("replace", 2, "-train.safetensors")).status == -9
    assert json.loads((torn / "recipe.json").read_text())["train"]["epochs"] == 6
    assert killer.run("run", "--resume", str(torn), "--quiet").status == 0
    assert differing(whole, torn) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounts a tmpfs")
def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(
    killer: Killer, finished: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)],
        capture_output=True, check=False,
    )  # fmt: skip
    if mount.returncode:
        pytest.skip(f"cannot mount: {mount.stderr.decode().strip()}")
    try:
        out = disk / "run"
        end = killer.run("run", "digits", "--out", str(out), *QUICKEST)
        assert end.status == 2, end.said
        assert "no room left on the disk" in end.said
        assert "then resume" in end.said
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        end = killer.run("run", "--resume", str(out), "--quiet")
        assert end.status == 0, end.said
        assert differing(out, finished) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)
