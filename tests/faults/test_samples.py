"""The samples of two epochs across a resume: the same order, the same augmented pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dots.data import Augmentation, Batches, ColourJitter, ImageData, StreamedImages, open_data
from dots.recipe import DataSettings
from dots.runs.progress import Silent
from dots.training.engine import StepResult
from dots.training.loop import Interrupted, Loop, Pair, State
from dots.training.processes import Processes
from helpers.journals import Memory, SignalAfter

EPOCHS, STEPS = 2, 4

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on two cores


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    """Thirty photographs of odd sizes, streamed from disk."""
    folder, draw = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for number in range(38):
        place = folder / "train" / "ab"[number % 2] if number < 30 else folder / "test" / "a"
        place.mkdir(parents=True, exist_ok=True)
        width, height = draw.integers(20, 60, 2)
        coarse = draw.integers(0, 255, (5, 5, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((int(width), int(height))).save(place / f"{number}.jpg")
    settings = DataSettings(image_size=16)
    opened = open_data(folder, settings, 3, splits_folder=None, resident_bytes=0)
    assert isinstance(opened.train, StreamedImages)
    return opened


class Looking:
    """A stage that takes down every batch."""

    name = "looking"
    epochs, steps, lr = EPOCHS, STEPS, 0.1

    def __init__(self, data: ImageData, workers: int) -> None:
        self.seen: list[tuple[int, int, list[int], str]] = []
        self.own = Batches(
            data.train, torch.arange(len(data.train)), 8, info=data.info,
            augment=Augmentation(resized_crop=True, flip=True, colour=ColourJitter(), cutout=4),
            shuffle=True, seed=3, stream="looking", device=torch.device("cpu"), workers=workers,
        )  # fmt: skip
        assert self.own.steps == STEPS

    def batches(self, epoch: int, start: int) -> Iterator[Pair]:
        return ((batch, None) for batch in self.own.epoch(epoch, start))

    def begin_epoch(self, epoch: int) -> None: ...
    def set_epoch(self, epoch: int) -> None: ...

    def step(self, epoch: int, step: int, pair: Pair) -> StepResult:
        images = pair[0].images
        digest = hashlib.sha256(images.contiguous().numpy().tobytes()).hexdigest()
        rows = self.own.rows(epoch, step).tolist()
        self.seen.append((epoch, step, rows, digest))
        return StepResult(images.mean(), torch.tensor(0.0), len(images))

    def end_epoch(self, epoch: int) -> dict[str, float]:
        return {}

    def snapshot(self, epoch: int) -> dict[str, Any] | None:
        return None

    def current(self) -> None: ...

    def finished(self, epoch: int) -> bool:
        return False

    def module(self) -> None: ...

    def state(self) -> State:
        return {}

    def load_state(self, state: State) -> None: ...


def _loop(journal: Memory, stop: Any = lambda: None) -> Loop:
    return Loop(3, Processes.single(torch.device("cpu")), journal, Silent(), stop)


@pytest.fixture(scope="module")
def undisturbed(data: ImageData) -> list[tuple[int, int, list[int], str]]:
    stage = Looking(data, 0)
    _loop(Memory()).run(stage)
    assert len({digest for *_, digest in stage.seen}) == EPOCHS * STEPS
    for epoch in range(EPOCHS):
        rows = [row for e, _, rows, _ in stage.seen if e == epoch for row in rows]
        assert sorted(rows) == list(range(30))  # each once
    return stage.seen


def _across(data: ImageData, stop_after: int, workers: tuple[int, int]) -> list[Any]:
    journal = Memory()
    first = Looking(data, workers[0])
    with pytest.raises(Interrupted):
        _loop(journal, SignalAfter(stop_after)).run(first)
    second = Looking(data, workers[1])
    _loop(journal).run(second)
    return first.seen + second.seen


@pytest.mark.parametrize("stop_after", range(EPOCHS * STEPS - 1))
def test_stopped_after_any_step(data: ImageData, undisturbed: list[Any], stop_after: int) -> None:
    assert _across(data, stop_after, (0, 0)) == undisturbed


@pytest.mark.parametrize("workers", [(3, 3), (0, 3), (3, 0)])
def test_with_worker_processes(
    data: ImageData, undisturbed: list[Any], workers: tuple[int, int]
) -> None:
    assert _across(data, 5, workers) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("stop_after", range(EPOCHS * STEPS - 1))
def test_with_worker_processes_after_any_step(
    data: ImageData, undisturbed: list[Any], stop_after: int
) -> None:
    assert _across(data, stop_after, (3, 3)) == undisturbed
