"""A training that did not learn begins again at a smaller rate, and is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dots.cli.app import run
from dots.recipe import preset
from dots.runs.restarts import MOST, slowed

TRAIN = ["train", "DOTS_C10", "digits", "--preset", "tiny", "--set", "train.channels=4",
         "--set", "train.cells=3", "--set", "train.clip=none", "--set", "train.epochs=5",
         "--set", "train.warmup_epochs=0", "--set", "data.limit=640", "--quiet"]  # fmt: skip


def _text(path: Path) -> str:
    """Nothing where the file is not there: no epoch came to its end."""
    return path.read_text() if path.exists() else ""


@pytest.fixture(scope="module")
def diverged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rate of 1e6 lets no network learn; so does a quarter of it, and a sixteenth."""
    out = tmp_path_factory.mktemp("restarts") / "run"
    assert run([*TRAIN, "--set", "train.lr=100", "--out", str(out)]) in (0, 2)
    return out


def test_it_begins_again_at_a_quarter_of_the_rate(diverged: Path) -> None:
    attempts = json.loads((diverged / "restarts.json").read_text())["train"]
    assert [attempt["lr"] for attempt in attempts] == [100.0, 25.0]
    assert all(attempt["reason"] for attempt in attempts)
    notices = json.loads((diverged / "notices.json").read_text())
    assert [line for line in notices if "it began again at 25" in line]
    assert [line for line in notices if "it began again at 6.25" in line]


def test_rows_of_the_last_attempt_alone_are_kept(diverged: Path) -> None:
    lines = _text(diverged / "metrics.jsonl").splitlines()
    rates = [json.loads(line)["lr"] for line in lines]
    assert all(rate <= 6.25 for rate in rates)


def test_rates_fall_by_four() -> None:
    settings = preset("quick").train
    rates = [slowed(settings, attempt).lr for attempt in range(MOST + 1)]
    assert rates == [settings.lr, settings.lr / 4, settings.lr / 16]
    assert slowed(settings, 0) == settings


def test_a_run_that_died_after_the_record_begins_the_next_attempt(
    diverged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The checkpoints of the attempt before are not taken up, whatever they hold."""
    copy = tmp_path / "run"
    shutil.copytree(diverged, copy)
    (copy / "test.json").unlink(missing_ok=True)
    (copy / "result.json").unlink(missing_ok=True)
    (copy / "restarts.json").write_text(json.dumps({"train": [{"lr": 100.0, "reason": "cut"}]}))
    assert run(["run", "--resume", str(copy), "--quiet"]) in (0, 2)
    attempts = json.loads((copy / "restarts.json").read_text())["train"]
    assert [attempt["lr"] for attempt in attempts] == [100.0, 25.0]
    for name in ("metrics.jsonl", "notices.json"):
        now, before = _text(copy / name), _text(diverged / name)
        if name == "notices.json":
            assert json.loads(now)[-1] == json.loads(before)[-1]


def test_a_damaged_record_is_named(
    diverged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(diverged, copy)
    (copy / "test.json").unlink(missing_ok=True)
    (copy / "restarts.json").write_text('{"train": 3}')
    assert run(["run", "--resume", str(copy), "--quiet"]) == 2
    assert "restarts.json" in capsys.readouterr().err
