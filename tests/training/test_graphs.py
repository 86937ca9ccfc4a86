"""Captured steps: when they are taken and taken anew, and that they do what others do.

`RecordingCapturer` stands for a GPU's: it repeats the calls of a step on the same memory, with
the numbers that they had when they were recorded. No test here has seen a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from dots.common.errors import UserError
from dots.common.seeding import seed_step
from dots.data.batch import Batch
from dots.nas.operation_search import OperationStage
from dots.nas.strategies import STRATEGIES
from dots.nas.topology_search import TopologyStage, new_topology
from dots.networks.derived import DerivedNetwork
from dots.networks.supernet import Supernet
from dots.recipe import TrainSettings
from dots.space.discretise import derive_darts
from dots.space.search_space import darts_space
from dots.training import optimisers
from dots.training.engine import Engine, StepResult
from dots.training.graphs import FIRST, LATER, CudaCapturer, Graphs, cuda_graphs
from dots.training.loop import Stage
from dots.training.memory_guard import copied
from dots.training.stage import TrainingStage
from helpers import contracts, searches, small, stages
from helpers.recorder import RecordingCapturer

SPACE = darts_space(nodes=1)
EPOCHS, STEPS = 2, 5
QUICK = {"darts", "snas", "dr-nas", "asap"}
"""Methods that are tested every time: plain, sampled on the device, in stages, pruned."""


class Counting:
    """A step that counts how often its Python runs."""

    def __init__(self) -> None:
        self.runs = 0
        self.total = torch.zeros(())

    def __call__(self, batch: Batch, other: Batch | None = None) -> StepResult:
        self.runs += 1
        self.total += batch.images.sum()
        return StepResult(batch.images.mean(), batch.labels.sum(), len(batch.labels))


def graphs(capturer: RecordingCapturer | None = None) -> tuple[Graphs, list[str]]:
    said: list[str] = []
    return Graphs(capturer or RecordingCapturer(), said.append), said


def take(made: Graphs, step: Any, *batches: Batch | None, key: Any = None, why: str = "") -> Any:
    return made.run(step, batches, key, why)


def test_a_step_is_captured_after_a_few_and_then_replayed_on_new_images() -> None:
    capturer, step = RecordingCapturer(), Counting()
    made, said = graphs(capturer)
    total = torch.zeros(())
    for seed in range(FIRST + 3):
        batch = small.batch(seed=seed)
        result = take(made, step, batch, None)
        total += batch.images.sum()
        assert torch.equal(result.loss, batch.images.mean())
        assert torch.equal(result.correct, batch.labels.sum())
        assert torch.equal(step.total, total)
    assert (capturer.asides, capturer.captures, capturer.replays) == (FIRST, 1, 3)
    assert step.runs == FIRST + 1
    assert said == []


def test_what_was_captured_is_forgotten_and_taken_anew() -> None:
    capturer, step = RecordingCapturer(), Counting()
    made, _ = graphs(capturer)
    for _ in range(FIRST + 1):
        take(made, step, small.batch())
    made.forget()
    for _ in range(LATER + 2):
        take(made, step, small.batch())
    assert (capturer.asides, capturer.captures, capturer.replays) == (FIRST + LATER, 2, 3)


def test_a_smaller_batch_is_captured_beside_and_in_the_same_memory() -> None:
    capturer, step = RecordingCapturer(), Counting()
    made, _ = graphs(capturer)
    total = torch.zeros(())
    for images in (6,) * (FIRST + 1) + (5, 6, 5):
        batch = small.batch(images=images)
        result = take(made, step, batch, None)
        total += batch.images.sum()
        assert torch.equal(result.correct, batch.labels.sum())
        assert torch.equal(step.total, total)
    assert (capturer.asides, capturer.replays) == (FIRST, 4)
    assert capturer.pools == [None, "pool 1"]


@pytest.mark.parametrize("changed", ["key", "half"])
def test_another_step_takes_the_place_of_the_one_before(changed: str) -> None:
    capturer, step = RecordingCapturer(), Counting()
    made, _ = graphs(capturer)
    for _ in range(FIRST + 1):
        take(made, step, small.batch(), None)
    for _ in range(LATER + 1):
        half = small.batch() if changed == "half" else None
        take(made, step, small.batch(), half, key=changed == "key")
    assert capturer.pools == [None, None]


def test_a_step_that_differs_runs_as_usual_which_is_said_once() -> None:
    capturer, step = RecordingCapturer(), Counting()
    made, said = graphs(capturer)
    for _ in range(FIRST + 2):
        take(made, step, small.batch(), why="it chooses")
    assert (step.runs, capturer.asides, capturer.captures) == (FIRST + 2, 0, 0)
    assert said == ["it chooses, so they are not captured in a CUDA graph, and slower"]


def test_a_step_that_cannot_be_captured_runs_as_usual_after_one_line() -> None:
    capturer, step = RecordingCapturer(), Counting()
    capturer.error = RuntimeError("operation not permitted\nwhen stream is capturing")
    made, said = graphs(capturer)
    total = torch.zeros(())
    for seed in range(FIRST + 3):
        take(made, step, small.batch(seed=seed))
        total += small.batch(seed=seed).images.sum()
    assert torch.equal(step.total, total)
    assert step.runs == FIRST + 3
    assert capturer.recovered == 1
    assert len(said) == 1
    assert said[0].endswith("operation not permitted when stream is capturing")


def test_the_stand_in_repeats_numbers_as_they_were() -> None:
    """So that the tests below see a number that a step holds."""
    capturer, held = RecordingCapturer(), [1.0]
    total = torch.zeros(())
    repeat, _, _ = capturer.capture(lambda: total.add_(held[0]))
    assert float(total) == 0.0
    held[0] = 5.0
    repeat()
    repeat()
    assert float(total) == 2.0


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)
        for name in STRATEGIES
        if name != "random"
    ],
)
def test_an_operation_search_is_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {} if name == "shapley-nas" else {"beta_decay": 1.0}
    captured = assert_the_same(operation_stage(name, **changes), monkeypatch)
    assert (captured == 0) == (name in DIFFER)


def operation_stage(name: str, **changes: Any) -> Callable[[Engine], Stage]:
    """What builds it."""

    def build(engine: Engine) -> Stage:
        search = searches.search(
            STRATEGIES[name], SPACE, method=METHOD.get(name), fast=False, engine=engine,
            epochs=EPOCHS, **changes,
        )  # fmt: skip
        own, other = small.FewBatches(STEPS, images=3), small.FewBatches(STEPS, images=4)
        return OperationStage(search, EPOCHS, own, other)

    return build


def test_a_step_that_no_epoch_changes_is_captured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert assert_the_same(operation_stage("darts"), monkeypatch) == 1


def test_what_was_loaded_is_captured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """An optimiser that loads a state remembers in other memory than before."""
    monkeypatch.setattr(optimisers, "on_a_gpu", lambda parameters: True)
    states = []
    for works in (False, True):
        capturer = RecordingCapturer()
        made, _ = graphs(capturer)
        made.works = works
        stage = operation_stage("darts")(small.engine(graphs=made))
        _run(stage)
        stage.load_state(copied(stage.state()))
        _run(stage)
        states.append(stage.state())
        assert capturer.captures == 2 * works
    assert contracts.same(*states)


METHOD = {**contracts.QUICK, "shapley-nas": {"permutations": 1, "truncate": 1.0}}
DIFFER = {"drop-nas", "gdas", "proxyless-nas", "sdarts-rs", "sdarts-adv", "oles", "darts-2nd"}


@pytest.mark.parametrize("changes", [{"anneal": "step"}, {"held_out": True}])
def test_a_topology_search_is_the_same(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = stages.topology_settings(epochs=EPOCHS, t_end=0.01, **changes)
    space = darts_space(nodes=2)
    names = stages.candidates_of(space, ("skip_connect", "sep_conv_3x3"))

    def build(engine: Engine) -> Stage:
        torch.manual_seed(0)
        net = Supernet(space, small.SHAPE, names, fast=False)
        topology, own = new_topology(space, settings), small.FewBatches(STEPS)
        held_out = small.FewBatches(STEPS, images=4) if settings.held_out else None
        return TopologyStage(
            space, names, topology, engine.place(net), settings, engine, own, held_out
        )

    assert assert_the_same(build, monkeypatch)


@pytest.mark.parametrize("anneal", ["step", "epoch"])
def test_a_training_is_the_same(anneal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = TrainSettings(
        epochs=EPOCHS, cells=3, channels=4, batch=6, lr=0.1, nesterov=True, anneal=anneal,
        drop_path=0.2, auxiliary=0.4, decay_norms=False,
    )  # fmt: skip
    draw = torch.Generator().manual_seed(1)
    shape = (len(SPACE.cell.edges), len(SPACE.operations))
    table = {kind: torch.rand(shape, generator=draw).tolist() for kind in SPACE.kinds}

    def build(engine: Engine) -> Stage:
        torch.manual_seed(0)
        cell = derive_darts(SPACE, table)
        network = DerivedNetwork(cell, small.SHAPE, auxiliary=True, fast=False)
        return TrainingStage(network, settings, engine, small.FewBatches(STEPS))

    assert assert_the_same(build, monkeypatch)


def test_another_training_is_captured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a halving, whose cells are trained in turn, by an engine and under one name."""
    monkeypatch.setattr(optimisers, "on_a_gpu", lambda parameters: True)
    settings = TrainSettings(epochs=EPOCHS, cells=3, channels=4, batch=6, lr=0.1, nesterov=True)
    shape = (len(SPACE.cell.edges), len(SPACE.operations))
    cell = derive_darts(SPACE, {kind: torch.rand(shape).tolist() for kind in SPACE.kinds})
    capturer, results = RecordingCapturer(), []
    for works in (False, True):
        made, _ = graphs(capturer)
        made.works = works
        engine = small.engine(graphs=made)
        for seed in (0, 1):
            torch.manual_seed(seed)
            network = DerivedNetwork(cell, small.SHAPE, auxiliary=False, fast=False)
            stage = TrainingStage(network, settings, engine, small.FewBatches(STEPS))
            results.append(_run(stage))
    assert results[:2] == results[2:]
    assert capturer.captures == 2


def assert_the_same(build: Callable[[Engine], Stage], monkeypatch: pytest.MonkeyPatch) -> int:
    """The stage that `build` makes, with captured steps and without; gives how many were."""
    monkeypatch.setattr(optimisers, "on_a_gpu", lambda parameters: True)
    states, results = [], []
    capturer = RecordingCapturer()
    for works in (False, True):
        made, _ = graphs(capturer)
        made.works = works
        stage = build(small.engine(graphs=made))
        results.append(_run(stage))
        states.append(stage.state())
    assert results[0] == results[1]
    assert contracts.same(*states)
    assert capturer.replays >= capturer.captures
    return capturer.captures


def _run(stage: Stage) -> list[tuple[float, float]]:
    found = []
    for epoch in range(EPOCHS):
        seed_step(0, "begin", epoch)
        stage.begin_epoch(epoch)
        stage.set_epoch(epoch)
        for step, pair in zip(range(STEPS), stage.batches(epoch, 0), strict=False):
            seed_step(0, epoch, step)
            result = stage.step(epoch, step, pair)
            found.append((float(result.loss), float(result.correct)))
        stage.end_epoch(epoch)
    return found


def test_what_is_asked_of_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step aside waits for what comes before, and what comes after waits for it."""
    asked: list[str] = []

    class Stream:
        def __init__(self, name: Any) -> None:
            self.name = name if name == "main" else "side"

        def wait_stream(self, other: Stream) -> None:
            asked.append(f"{self.name} waits for {other.name}")

    class Graph:
        def replay(self) -> None:
            asked.append("replay")

        def pool(self) -> str:
            return "its pool"

    @contextmanager
    def capturing(
        graph: Graph, pool: Any = None, stream: Any = None, capture_error_mode: str = ""
    ) -> Iterator[None]:
        asked.append(f"capture on {stream.name} in {pool}, {capture_error_mode}")
        yield

    @contextmanager
    def entered(stream: Stream) -> Iterator[None]:
        asked.append(f"on {stream.name}")
        yield

    fakes = {"Stream": Stream, "CUDAGraph": Graph, "graph": capturing, "stream": entered}
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream("main"))
    capturer = CudaCapturer(torch.device("cuda", 0))
    assert capturer.aside(lambda: 7) == 7
    captured = capturer.capture(lambda: 8, "a pool")
    captured.repeat()
    assert captured[1:] == (8, "its pool")
    assert asked == [
        "side waits for main",
        "on side",
        "main waits for side",
        "capture on side in a pool, thread_local",
        "replay",
    ]


def test_there_are_none_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert cuda_graphs(cpu, print) is None
    monkeypatch.setenv("DOTS_GRAPHS", "off")
    assert cuda_graphs(cuda, print) is None
    monkeypatch.setenv("DOTS_GRAPHS", "never")
    with pytest.raises(UserError, match="DOTS_GRAPHS='never': choose on or off"):
        cuda_graphs(cpu, print)
