"""Measuring steps: extrapolation, isolation, every strategy."""

from __future__ import annotations

import time

import pytest
import torch

from dots.common.errors import UserError
from dots.data import DataInfo
from dots.nas.plan import make_plan
from dots.nas.strategies import STRATEGIES
from dots.recipe import build_recipe, preset
from dots.recipe.shares import with_search_share
from dots.runs.planning import time_estimate as planner
from dots.runs.planning.memory_limit import bytes_of, fewest_parts, halved
from dots.runs.planning.time_estimate import Speed, expected_counts, measure, parts
from dots.runs.planning.trial_steps import single_engine, trial_steps
from dots.training.graphs import Graphs
from helpers.recorder import RecordingCapturer

INFO = DataInfo("x", ("a", "b", "c"), 1, 8, (0.5,), (0.2,), flip=True)
SMALLEST = [
    "nodes=1", "operations.cells=1", "topology.cells=1", "train.cells=1", "operations.batch=4",
    "topology.batch=4", "train.batch=4",
]  # fmt: skip


def test_a_long_step_is_measured_on_few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of 0.02 + 0.03 · images seconds, on a clock of our own."""
    now, taken = [0.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def step(images: int) -> None:
        taken.append(images)
        now[0] += 0.02 + 0.03 * images

    assert planner._seconds(step, 1000, torch.device("cpu")) == pytest.approx(0.02 + 0.03 * 1000)
    assert max(taken) < 40
    assert planner._seconds(step, 3, torch.device("cpu")) == pytest.approx(0.11)


def test_the_first_of_short_steps_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now, first = [0.0], {4, 64}
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def step(images: int) -> None:
        now[0] += 0.001 * images + (0.1 if images in first else 0.0)
        first.discard(images)

    step(4)
    assert planner._seconds(step, 64, torch.device("cpu"), warm=True) == pytest.approx(0.064)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_steps_of_every_strategy_can_be_tried(strategy: str) -> None:
    recipe = build_recipe("tiny", overrides=[*SMALLEST, f"strategy={strategy}", "fast=false"])
    before = torch.random.get_rng_state()
    (trial,) = trial_steps(
        make_plan(recipe), INFO, single_engine(torch.device("cpu")), stages=("operations",)
    )
    assert trial.early is not None
    trial.early(3)
    trial.late(3)
    assert torch.equal(before, torch.random.get_rng_state())


def test_all_stages_are_measured() -> None:
    plan = make_plan(build_recipe("tiny", overrides=[*SMALLEST, "topology.held_out=true"]))
    before = torch.random.get_rng_state()
    speed = measure(plan, INFO, torch.device("cpu"))
    assert torch.equal(before, torch.random.get_rng_state())
    assert set(speed.late) == set(speed.early) == {"operations", "topology", "train"}
    assert all(0 < seconds < 60 for seconds in speed.late.values())


def test_where_steps_are_captured_a_captured_one_is_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    capturer = RecordingCapturer()
    graphs = Graphs(capturer, lambda line: None)
    monkeypatch.setattr(planner, "cuda_graphs", lambda device, say: graphs)
    plan = make_plan(build_recipe("tiny", overrides=[*SMALLEST, "fast=false"]))
    speed = measure(plan, INFO, torch.device("cpu"))
    assert set(speed.late) == {"operations", "topology", "train"}
    assert capturer.captures == 4  # early and late operations, topology, train
    assert capturer.replays >= 2 * capturer.captures


# --- memory ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "count"), [("8G", 8 * 2**30), ("800M", 800 * 2**20), ("1.5GiB", 3 * 2**29)]
)
def test_sizes(text: str, count: int) -> None:
    assert bytes_of(text) == count


@pytest.mark.parametrize("text", ["", "8", "G", "-1G", "0M", "1X", "1e3G", "nanG"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UserError, match="--max-memory"):
        bytes_of(text)


def test_the_most_parts_come_first() -> None:
    assert halved(1) == [1]
    assert halved(7) == [4, 2, 1]
    assert halved(10_000)[0] == 64


def test_the_fewest_parts_that_fit_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    def peaks(*_: object) -> object:
        return iter([(8, 100), (4, 150), (2, 250), (1, 450)])

    monkeypatch.setattr("dots.runs.planning.memory_limit._peaks", peaks)
    plan, cpu = make_plan(preset("tiny")), torch.device("cpu")
    assert fewest_parts(plan, INFO, cpu, 500) == (1, 450)
    assert fewest_parts(plan, INFO, cpu, 300) == (2, 250)
    assert fewest_parts(plan, INFO, cpu, 300, resident=60) == (4, 210)
    with pytest.raises(UserError, match=r"--max-memory.*low_memory"):
        fewest_parts(plan, INFO, cpu, 99)


@pytest.mark.slow
def test_memory_is_measured_in_a_process_of_its_own() -> None:
    info = DataInfo("x", ("a", "b"), 3, 32, (0.5,) * 3, (0.2,) * 3, flip=True)
    recipe = build_recipe("tiny", overrides=["operations.channels=16", "operations.batch=256"])
    parts, peak = fewest_parts(make_plan(recipe), info, torch.device("cpu"), 64 * 2**30)
    assert parts == 1
    fewer, less = fewest_parts(make_plan(recipe), info, torch.device("cpu"), peak - 2**20)
    assert fewer > 1
    assert less < peak


def test_a_selection_by_perturbation_is_planned() -> None:
    plain = make_plan(build_recipe("tiny"))
    asked = ["operations.select=perturbation", "topology.select=perturbation"]
    plan = make_plan(build_recipe("tiny", overrides=asked))
    counts = expected_counts(plan, 640, 100, 320, 320)
    seconds = {"operations": 1.0, "topology": 1.0, "train": 1.0}
    made = {p.name: p for p in parts(plan.recipe, counts, Speed(seconds, seconds))}
    assert [name for name in made if name.endswith("perturbation")] == [
        "operations-perturbation",
        "topology-perturbation",
    ]
    # 14 edges and three of the four nodes are decided, an epoch after each but the last.
    first = made["operations-perturbation"]
    assert (first.epochs, first.steps) == (16, 5)
    ratings = 2 * (14 * 8 + 3 + (4 + 3) + (5 + 4 + 3))
    assert first.seconds == pytest.approx(16 * 5 + ratings * 64 / 64 / 3)
    fewer = parts(plain.recipe, counts, Speed(seconds, seconds))
    assert len(made) == len(fewer) + 2
    shorter = with_search_share(preset("paper-cifar"), 0.5)
    assert shorter.operations.tune_epochs == 5  # nothing is tuned
    assert (
        with_search_share(build_recipe("paper-cifar", overrides=asked), 0.5).operations.tune_epochs
        == 2
    )
