"""A run directory made by an enemy: every reader refuses by a line, executes nothing, and soon."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dots.cli.app import run
from helpers.killing import QUICKEST

SECONDS = 10.0  # more than enough for what must be refused


class Trap:
    """Unpickling it makes a directory."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.mkdir, (self.place,))


@pytest.fixture
def copy(undisturbed: tuple[Path, float], tmp_path: Path) -> Path:
    shutil.copytree(undisturbed[0], tmp_path / "run")
    return tmp_path / "run"


def payloads(trap: Path) -> Iterator[tuple[str, bytes]]:
    """What may lie in the place of any file."""
    yield "pickle", pickle.dumps(Trap(trap))
    torched = io.BytesIO()
    torch.save(Trap(trap), torched)
    yield "torch", torched.getvalue()
    yield "deep", b"[" * 200_000 + b"]" * 200_000
    yield "deep objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    yield "huge number", b'{"version": ' + b"9" * 100_000 + b"}"
    yield "infinity", b'{"version": 1e999, "train": NaN}'
    yield "other kind", b"[1, null, {}]"
    yield "no text", bytes(range(256)) * 100
    yield "nothing", b""


FILES = (
    "recipe.json", "environment.json", "job.json", "data.json", "splits.json", "halves.json",
    "machine.json", "candidates.json", "genotype.json", "genotype-random.json", "network.json",
    "weights.safetensors", "test.json", "test-random.json", "samples.json", "result.json",
    "metrics.jsonl", "architecture.jsonl", "topology.json", "notices.json", "extensions.json",
    "plan.json", "lock",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_no_file_of_a_run_is_trusted(
    copy: Path, tmp_path: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trap, kept = tmp_path / "trap", (copy / file).read_bytes() if (copy / file).exists() else None
    commands = [
        ["run", "--resume", str(copy), "--quiet", "--device", "cpu"],
        ["report", str(copy)],
        ["test", str(copy), "digits", "--device", "cpu"],
        ["count", str(copy)],
    ]
    for name, content in payloads(trap):
        for command in commands:
            (copy / file).write_bytes(content)
            began = time.process_time()
            status = run(command)
            error = capsys.readouterr().err
            assert status in (0, 2), (name, command, error)
            if status == 2:
                assert error.strip().splitlines()[-1].startswith("dots: "), (name, command)
                assert len(error) < 2000, (name, command)
            assert time.process_time() - began < SECONDS, (name, command)
            assert not trap.exists(), (name, command)
    if kept is not None:
        (copy / file).write_bytes(kept)


def test_hostile_checkpoints_are_skipped_by_name(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trap = tmp_path / "trap"
    (copy / "test.json").unlink()  # so that the training is looked at again
    for number, (_, content) in enumerate(payloads(trap)):
        path = copy / "checkpoints" / f"{900_000 + number}-train.safetensors"
        path.write_bytes(content)
    assert run(["run", "--resume", str(copy), "--device", "cpu"]) == 0
    shown = capsys.readouterr().err
    for number in range(len(list(payloads(trap)))):
        assert f"{900_000 + number}-train" in shown
    assert not trap.exists()


def _refused(words: list[str], capsys: pytest.CaptureFixture[str], *named: str) -> None:
    began = time.process_time()
    assert run(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("dots: ")
    assert len(error.splitlines()) == 1
    for text in named:
        assert text in error
    assert time.process_time() - began < SECONDS


def test_a_genotype_of_a_million_edges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edge = {"op": "sep_conv_3x3", "from": 0}
    for name, nodes in {"wide": [[edge] * 10**6], "long": [[edge]] * 10**6}.items():
        file = tmp_path / f"{name}.json"
        cell = {"normal": nodes, "normal_concat": [2], "reduce": [[edge]], "reduce_concat": [2]}
        file.write_text(json.dumps(cell))
        _refused(["count", str(file)], capsys, name)


def _classes(root: Path) -> None:
    for label in "ab":
        (root / label).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(np.full((8, 8, 3), number, dtype=np.uint8)).save(
                root / label / f"{number}.png"
            )


def test_an_archive_and_a_bomb_as_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "photos"
    _classes(root)
    with zipfile.ZipFile(root / "a" / "zipped.png", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", bytes(10**8))
    _refused(["run", str(root), "--preset", "tiny", "--quiet"], capsys, "zipped.png", "no image")
    (root / "a" / "zipped.png").unlink()
    Image.new("1", (13_400, 13_400)).save(root / "b" / "bomb.png")  # 180 megapixels in 22 kB
    _refused(["run", str(root), "--preset", "tiny", "--quiet"], capsys, "bomb.png", "pixels")
    assert run(["check", str(root), "--no-estimate", "--quiet"]) == 1
    assert "bomb.png" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["li\nne", "\x1b[31mred"])
def test_odd_names_are_shown_on_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    root = tmp_path / "photos"
    _classes(root)
    (root / "a" / f"{name}.png").write_text("no picture")
    words = ["run", str(root), "--preset", "tiny", "--quiet", "--out", str(tmp_path / "x")]
    _refused(words, capsys, "no image")
    _refused(["run", str(tmp_path / name / "nowhere"), "--quiet"], capsys, "nowhere")


def test_names_in_a_split_cannot_lead_out_of_the_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = tmp_path / "photos", tmp_path / "run"
    _classes(root)
    words = ["run", str(root), "--out", str(out), *QUICKEST, "--set", "data.limit=none"]
    assert run(words) == 0
    split = json.loads((out / "splits.json").read_text())
    split["train"][0] = "../../../../etc/passwd"
    (out / "splits.json").write_text(json.dumps(split))
    _refused(["run", "--resume", str(out), "--quiet"], capsys, "splits.json")
