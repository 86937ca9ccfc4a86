"""Two real processes (gloo) against one: what they share, what they compute, how they end."""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from dots.nas.strategies import STRATEGIES
from dots.runs import state_file as checkpoint
from dots.training.processes import device_name
from helpers.children import one_thread
from helpers.rank_work import ALIKE

WORK = Path(__file__).parents[1] / "helpers" / "rank_work.py"


def start(folder: Path, *what: str) -> list[subprocess.Popen[str]]:
    """Start two processes as torchrun does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(2):
        env = {
            **one_thread(), "TORCHELASTIC_RUN_ID": "test", "RANK": str(rank),
            "LOCAL_RANK": str(rank), "GROUP_RANK": "0", "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }  # fmt: skip
        words = [sys.executable, str(WORK), str(folder), *what]
        processes.append(
            subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True, cwd=folder)
        )
    return processes


TOGETHER = ("strategies", "topology", "together", *ALIKE)


@dataclass(frozen=True)
class End:
    """How the first process ended after the last had died, and where both wrote what they saw."""

    folder: Path
    status: int
    error: str


@pytest.fixture(scope="module")
def end(tmp_path_factory: pytest.TempPathFactory) -> End:
    """Two processes do all kinds of work; then the last dies."""
    folder = tmp_path_factory.mktemp("ranks")
    first, last = start(folder, *TOGETHER, "death")
    try:
        _, said = last.communicate(timeout=500)
        assert last.returncode == 9, said
        _, error = first.communicate(timeout=50)  # before it would end anyway
    finally:
        for process in (first, last):
            process.kill()
            process.communicate()
    return End(folder, first.returncode, error)


@pytest.fixture(scope="module")
def seen(end: End) -> dict[str, dict[int, list[Any]]]:
    """Of each kind of work, what each process saw, and the first alone."""
    return {
        what: {
            world: [
                checkpoint.load(end.folder / f"{what}-{world}-{rank}.safetensors")
                for rank in range(world)
            ]
            for world in ((1, 2) if what in ALIKE else (2,))
        }
        for what in TOGETHER
    }


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def test_architecture_and_weights_are_the_same_on_all_ranks_after_every_step(
    seen: dict[str, Any],
) -> None:
    first, second = seen["strategies"][2]
    assert len(first) == len(STRATEGIES) - 1  # all but random
    for name, steps in first.items():
        for step, (mine, other) in enumerate(zip(steps, second[name], strict=True)):
            assert _same(mine["alpha"], other["alpha"]), (name, step)
            assert _same(mine["weights"], other["weights"]), (name, step)
        assert not _same(steps[0]["weights"], steps[1]["weights"]), name


def test_topology_is_the_same_on_all_ranks_after_every_step(seen: dict[str, Any]) -> None:
    first, second = seen["topology"][2]
    assert _same(first, second)
    assert not _same(first["steps"][0]["beta"], first["steps"][2]["beta"])


def test_gradients_equal_those_of_one_process(seen: dict[str, Any]) -> None:
    (alone,) = seen["gradients"][1]
    for together in seen["gradients"][2]:
        for parts in ("1", "2"):
            assert len(alone[parts]) == len(together[parts]) > 10
            for a, b in zip(alone[parts], together[parts], strict=True):
                torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_every_test_image_counts_once(seen: dict[str, Any]) -> None:
    (alone,) = seen["test"][1]
    assert alone["test_images"] == 23
    for together in seen["test"][2]:
        for key, value in alone.items():
            if key not in ("mistakes", "confusion"):
                assert together[key] == pytest.approx(value)
        assert together["confusion"] == alone["confusion"]
        for mine, other in zip(alone["mistakes"], together["mistakes"], strict=True):
            assert mine == pytest.approx(other)


def test_sums_maxima_texts(seen: dict[str, Any]) -> None:
    for got in seen["together"][2]:
        assert got["sum"].tolist() == [1.0, 2.0]
        assert got["largest"].tolist() == [1, 0]
        assert got["text"] == "äöü 0 " * 3


def test_a_process_that_dies_ends_the_others_with_a_line(end: End) -> None:
    assert end.status != 0
    assert "another process of this run has ended" in end.error


def test_a_gpu_is_named_with_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimpleNamespace(name="NVIDIA H100", total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    assert device_name(torch.device("cuda", 0)) == "NVIDIA H100 with 80 GiB"
    assert device_name(torch.device("cpu")) == "cpu"
