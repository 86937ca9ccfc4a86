"""A training that did not learn begins again at a smaller rate, and is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dots.cli.app import run
from dots.recipe import preset
from dots.runs.jsonlines import JsonLines
from dots.runs.restarts import MOST, slowed
from helpers.run_equality import without_times

TRAIN = ["train", "plain", "digits", "--preset", "tiny", "--set", "train.clip=none",
         "--set", "train.epochs=4", "--set", "train.warmup_epochs=0", "--set", "train.batch=8",
         "--set", "data.limit=104", "--device", "cpu", "--quiet"]  # fmt: skip
LR = 1e-8
"""At this rate a network stays what it was drawn as: at chance, with a finite loss. So it does at
the smaller ones of the attempts that follow."""


def _rates(run: Path) -> list[float]:
    attempts = json.loads((run / "restarts.json").read_text())["train"]
    assert all(attempt["reason"] for attempt in attempts)
    return [attempt["lr"] for attempt in attempts]


@pytest.fixture(scope="module")
def unlearned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that learned in no attempt."""
    out = tmp_path_factory.mktemp("restarts") / "run"
    assert run([*TRAIN, "--set", f"train.lr={LR}", "--out", str(out)]) == 0
    return out


def test_it_begins_again_at_a_quarter_of_the_rate(unlearned: Path) -> None:
    assert _rates(unlearned) == [LR, LR / 4]
    notices = json.loads((unlearned / "notices.json").read_text())
    for rate in (LR / 4, LR / 16):
        assert [line for line in notices if f"it began again at {rate:g}" in line]


def test_rows_of_the_last_attempt_alone_are_kept(unlearned: Path) -> None:
    rows = JsonLines(unlearned / "metrics.jsonl").rows()
    assert [row["epoch"] for row in rows] == list(range(4))
    assert all(row["lr"] <= LR / 16 for row in rows)


def test_a_loss_that_is_not_finite_is_an_attempt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without momentum a step multiplies the weights by 1 - rate × decay: by -5.25 at the last
    rate, by 10^74 in 104 steps."""
    out = tmp_path / "run"
    growing = ("lr=100", "lr_min=100", "weight_decay=1", "momentum=0", "nesterov=false", "epochs=8")
    diverging = [word for setting in growing for word in ("--set", f"train.{setting}")]
    assert run([*TRAIN, *diverging, "--out", str(out)]) == 2
    assert "the loss is not finite" in capsys.readouterr().err
    attempts = json.loads((out / "restarts.json").read_text())["train"]
    reason = "its loss was not finite"
    assert attempts == [{"lr": 100.0, "reason": reason}, {"lr": 25.0, "reason": reason}]


def test_rates_fall_by_four() -> None:
    settings = preset("quick").train
    rates = [slowed(settings, attempt).lr for attempt in range(MOST + 1)]
    assert rates == [settings.lr, settings.lr / 4, settings.lr / 16]
    assert slowed(settings, 0) == settings


def test_a_run_that_died_after_the_record_begins_the_next_attempt(
    unlearned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The checkpoints of the attempt before are not taken up, whatever they hold."""
    copy = tmp_path / "run"
    shutil.copytree(unlearned, copy)
    (copy / "test.json").unlink(missing_ok=True)
    (copy / "result.json").unlink(missing_ok=True)
    (copy / "restarts.json").write_text(json.dumps({"train": [{"lr": LR, "reason": "cut"}]}))
    assert run(["run", "--resume", str(copy), "--quiet"]) == 0
    assert _rates(copy) == [LR, LR / 4]
    notices = [json.loads((out / "notices.json").read_text())[-1] for out in (copy, unlearned)]
    assert notices[0] == notices[1]
    rows = [without_times(JsonLines(out / "metrics.jsonl").rows()) for out in (copy, unlearned)]
    assert rows[0] == rows[1]


def test_a_damaged_record_is_named(
    unlearned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(unlearned, copy)
    (copy / "test.json").unlink(missing_ok=True)
    (copy / "restarts.json").write_text('{"train": 3}')
    assert run(["run", "--resume", str(copy), "--quiet"]) == 2
    assert "restarts.json" in capsys.readouterr().err
