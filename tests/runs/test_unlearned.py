"""What did not learn is said: in the result, first in the report, also after a kill."""

from __future__ import annotations

import html
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dots.common.files import read_json
from dots.runs.restarts import note_unlearned_search
from dots.space.genotype import Cell, Edge, Genotype
from helpers.killing import Killer

ABSURD = (
    "--preset", "tiny", "--quiet", "--device", "cpu", "--set", "data.limit=104",
    "--set", "train.cells=2", "--set", "train.channels=4", "--set", "train.batch=8",
    "--set", "train.epochs=4", "--set", "train.lr=100", "--set", "train.lr_min=100",
)  # fmt: skip
"""A rate that stays at 100, at 25, then at 6.25, on clipped gradients: the loss is finite, and
far above chance to the last step. 52 steps: fewer than 50 would not be judged."""

PLAIN = ("train", "plain", "digits")
CELL = Cell(((Edge("sep_conv_3x3", 0), Edge("skip_connect", 1)),), (2,))


@pytest.fixture(scope="module", params=["plain", "train"])
def lost(
    killer: Killer, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    """A cell and a random one, or a reference network, that learned in no attempt."""
    out = tmp_path_factory.mktemp("lost") / request.param
    Genotype({"normal": CELL, "reduce": CELL}).save(out.parent / "cell.json")
    cell = ("train", f"{out.parent}/cell.json", "digits", "--baselines", "--set", "nodes=1")
    words = PLAIN if request.param == "plain" else cell
    end = killer.run(*words, *ABSURD, "--out", str(out))
    assert end.status == 0, end.said
    return out


def test_two_restarts_are_recorded_and_the_third_failure_is_told(lost: Path) -> None:
    restarts = read_json(lost / "restarts.json", what="the restarts")
    assert list(restarts) == ["train", *(["train-random"] if lost.name == "train" else [])]
    for attempts in restarts.values():
        assert [attempt["lr"] for attempt in attempts] == [100.0, 25.0]
    said = read_json(lost / "result.json", what="a result")["notices"]
    for stage in restarts:
        own = [line for line in said if line.startswith(f"{stage} at a learning rate of ")]
        assert [line.endswith("its network is no result") for line in own] == [False, False, True]


def test_the_report_begins_with_it(lost: Path) -> None:
    text = html.unescape((lost / "report.html").read_text())
    body = text[text.index("<body") :]
    told = body.index("its network is no result")
    assert told < body.index('class="tiles"')
    assert body.index("<h2") < told < body.index("<h2", body.index("<h2") + 1)


KEPT = ("restarts.json", "notices.json", "metrics.jsonl", "result.json", "weights.safetensors")


def without_times(name: str, content: bytes) -> Any:
    if name.endswith(".safetensors"):
        return content
    rows = [json.loads(line) for line in content.decode().splitlines()] if "jsonl" in name else []
    values = rows or [json.loads(content)]
    return [
        {k: v for k, v in value.items() if "seconds" not in k} if isinstance(value, dict) else value
        for value in values
    ]


@pytest.mark.parametrize("lost", ["plain"], indirect=True)
@pytest.mark.parametrize("at", [(1, "notices.json"), (1, "restarts.json"), (2, "restarts.json")])
def test_a_kill_around_a_restart_changes_nothing(
    killer: Killer, lost: Path, tmp_path: Path, at: tuple[int, str]
) -> None:
    out = tmp_path / "run"
    end = killer.run(*PLAIN, *ABSURD, "--out", str(out), at=("replace", *at))
    assert end.status == -9
    end = killer.run("run", "--resume", str(out), "--quiet")
    assert end.status == 0, end.said
    for name in KEPT:
        one, other = (without_times(name, (run / name).read_bytes()) for run in (lost, out))
        assert one == other, name


def session(rows: list[dict[str, Any]]) -> Any:
    """As much of a session as is asked: balanced labels of ten classes, these rows."""
    data = SimpleNamespace(train=SimpleNamespace(labels=torch.arange(10).repeat(100)))
    return SimpleNamespace(
        images=SimpleNamespace(
            data=data,
            info=SimpleNamespace(classes=range(10)),
            rows=lambda images: torch.arange(1000),
        ),
        run=SimpleNamespace(metrics=SimpleNamespace(rows=lambda: rows)),
        engine=SimpleNamespace(class_weights=None),
        notes=(notes := []),
        note=notes.append,
    )


@pytest.mark.parametrize(
    ("accuracy", "steps", "accused"), [(0.1, 20, True), (0.3, 20, False), (0.1, 2, False)]
)
def test_a_search_at_chance_is_told_unless_it_had_few_steps(
    accuracy: float, steps: int, accused: bool
) -> None:
    rows = [
        {"stage": "topology", "epoch": epoch, "accuracy": accuracy, "loss": 9.0}
        for epoch in range(4)
    ]
    asked = session([*rows, {"stage": "operations", "epoch": 0, "accuracy": 0.9, "loss": 0.1}])
    stage: Any = SimpleNamespace(name="topology", epochs=4, steps=steps)
    note_unlearned_search(asked, stage, "both halves")
    assert bool(asked.notes) == accused
    if accused:
        assert asked.notes[0].startswith("the search of the topology did not learn: its training")
