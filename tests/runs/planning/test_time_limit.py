"""Plans that fit a time: what is cut, in which order, and how far."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dots.common.errors import UserError
from dots.recipe import Recipe, build_recipe, preset, recipe_from_json
from dots.runs.planning.time_estimate import Counts, Speed, later, lines, parts
from dots.runs.planning.time_limit import MARGIN, TimeLimit, recipe_changes, seconds_of

COUNTS = Counts(operations=640, topology=1280, train=1280, test=320)
SPEED = Speed(
    early={"operations": 0.5, "topology": 1.0, "train": 0.25},
    late={"operations": 1.0, "topology": 1.0, "train": 0.25},
)


def _limit(seconds: float, kind: str = "run") -> TimeLimit:
    return TimeLimit(seconds, kind, False, COUNTS, SPEED)


def _fitted(limit: TimeLimit, recipe: Recipe) -> Recipe | None:
    """The recipe cut to the limit; none where that is refused, naming the option."""
    try:
        return limit.fitted(recipe)
    except UserError as error:
        assert "--time-limit" in str(error)  # noqa: PT017 - a limit may be too short for it
        return None


def _total(recipe: Recipe, kind: str = "run") -> float:
    return sum(part.seconds for part in parts(recipe, COUNTS, SPEED, kind))


def test_the_plan_adds_up() -> None:
    recipe = build_recipe("tiny", overrides=["operations.epochs=4", "operations.weight_epochs=1"])
    plan = parts(recipe, COUNTS, SPEED)
    assert [part.name for part in plan] == ["operations", "topology", "train", "train-random"]
    assert plan[0].seconds == pytest.approx(10 * (0.5 + 3 * 1.0))
    assert plan[1].seconds == pytest.approx(2 * 20 * 1.0)
    assert plan[2].seconds == pytest.approx(3 * 20 * 0.25, rel=0.1)
    assert later(plan)["topology"] == pytest.approx(plan[2].seconds + plan[3].seconds)
    assert later(plan)["train-random"] == 0
    assert len(lines(plan)) == 6


@pytest.mark.parametrize("kind", ["run", "search", "operations", "train"])
def test_what_fits_is_left_alone(kind: str) -> None:
    recipe = preset("quick")
    assert _limit(1e6, kind).fitted(recipe) == recipe


@given(seconds=st.floats(60, 20_000), name=st.sampled_from(["tiny", "quick", "paper-cifar"]))
@settings(deadline=None, max_examples=60)
def test_a_cut_recipe_fits_and_is_a_recipe(seconds: float, name: str) -> None:
    recipe = preset(name)
    cut = _fitted(_limit(seconds), recipe)
    if cut is None:
        return
    assert _total(cut) <= MARGIN * seconds
    assert recipe_from_json(json.loads(json.dumps(cut.to_json()))) == cut  # every check passes
    for stage in ("operations", "topology", "train"):
        assert 1 <= getattr(cut, stage).epochs <= getattr(recipe, stage).epochs


def test_the_training_is_reserved_first() -> None:
    recipe = build_recipe("tiny", overrides=["operations.epochs=400", "train.epochs=20"])
    train = sum(p.seconds for p in parts(recipe, COUNTS, SPEED) if p.name.startswith("train"))
    cut = _limit(2.5 * train).fitted(recipe)
    assert cut.train == recipe.train
    assert cut.operations.epochs < 40


def test_baselines_go_before_the_run_is_refused() -> None:
    recipe = build_recipe("tiny", overrides=["train.epochs=1", "baselines=random,darts-policy"])
    least = 10 * 1.0 + 20 * 1.0 + 20 * 0.25
    cut = _limit(1.05 * least / MARGIN + 3).fitted(recipe)
    assert cut.baselines == ()
    with pytest.raises(UserError, match=r"one epoch of each stage takes about .*data.limit"):
        _limit(10).fitted(recipe)


def test_the_dearest_baseline_goes_before_half_of_the_training_does() -> None:
    recipe = build_recipe("tiny", overrides=["train.epochs=20", "baselines=random,plain"])
    plan = {part.name: part.seconds for part in parts(recipe, COUNTS, SPEED)}
    assert plan["train-random"] > plan["train-plain"]
    searches, least = plan["operations"] + plan["topology"], 0.5 * plan["train"]
    cut = _limit((searches + 0.6 * plan["train"] + plan["train-plain"]) / MARGIN).fitted(recipe)
    assert cut.baselines == ("plain",)
    assert cut.train.epochs >= 10
    tight = _limit((searches + 1.1 * least) / MARGIN).fitted(recipe)
    assert 2 * plan["train-plain"] < plan["train"]
    assert tight.baselines == ("plain",)  # without it there would be few more epochs
    assert tight.train.epochs >= 5


def _rows(stage: str, epochs: int, seconds: float) -> list[dict[str, Any]]:
    return [{"stage": stage, "epoch": epoch, "seconds": seconds} for epoch in range(epochs)]


def _searched(limit: TimeLimit, recipe: Recipe, speed: float) -> list[dict[str, Any]]:
    """The rows of an operation search that took 1/`speed` of the planned time."""
    planned = sum(part.seconds for part in limit.plan(recipe) if part.name == "operations")
    epochs = recipe.operations.epochs
    return _rows("operations", epochs, planned / epochs / speed)


def test_a_slower_machine_cuts_what_is_left_and_again_nothing() -> None:
    recipe = build_recipe("tiny", overrides=["topology.epochs=20", "train.epochs=50"])
    limit = _limit(_total(recipe) / MARGIN + 1)
    assert limit.fitted(recipe) == recipe
    rows = _rows("operations", 2, 2 * 7.5)  # twice as long as planned
    cut = limit.refitted(recipe, rows, "topology")
    assert cut.operations == recipe.operations
    assert cut.topology.epochs < 20
    assert cut.train.epochs < 50
    assert limit.refitted(cut, rows, "topology") == cut  # a resume decides nothing anew


def test_a_faster_machine_gives_back_what_was_cut() -> None:
    recipe = build_recipe("tiny", overrides=["topology.epochs=20", "train.epochs=50"])
    limit = replace(_limit(0.6 * _total(recipe)), wanted=recipe.to_json())
    cut = limit.fitted(recipe)
    assert (cut.topology.epochs < 20, cut.train.epochs < 50, cut.baselines) == (True, True, ())

    def refitted(speed: float) -> Recipe:
        rows = _searched(limit, cut, speed)
        found = limit.refitted(cut, rows, "topology")
        assert limit.refitted(found, rows, "topology") == found
        assert found.operations == cut.operations  # what is over stays as it was
        return found

    assert refitted(4.0) == cut.model_copy(
        update={name: getattr(recipe, name) for name in ("topology", "train", "baselines")}
    )
    assert cut.train.epochs < refitted(1.3).train.epochs <= 50
    assert refitted(0.5).train.epochs < cut.train.epochs


@given(
    share=st.floats(0.1, 2.0),
    speed=st.floats(0.2, 5.0),
    name=st.sampled_from(["tiny", "quick", "small"]),
)
@settings(deadline=None, max_examples=60)
def test_what_is_left_is_kept_to_and_a_faster_run_loses_nothing(
    share: float, speed: float, name: str
) -> None:
    recipe = preset(name)
    limit = replace(_limit(share * _total(recipe)), wanted=recipe.to_json())
    cut = _fitted(limit, recipe)
    if cut is None:
        return
    rows = _searched(limit, cut, speed)
    spent = sum(row["seconds"] for row in rows)
    found = limit.refitted(cut, rows, "topology")
    left = sum(part.seconds for part in limit.plan(found, 1 / speed)) - spent
    usable = max(MARGIN * limit.seconds - spent, (limit.seconds - spent) / 2)
    assert left <= usable * (1 + 1e-9) or (found.train.epochs, found.baselines) == (1, ())
    if speed >= 1:
        assert found.train.epochs >= cut.train.epochs
        assert set(found.baselines) >= set(cut.baselines)


def test_a_run_on_time_is_not_cut() -> None:
    recipe = preset("tiny")
    limit = _limit(_total(recipe) / MARGIN + 1)
    rows = _rows("operations", 2, 7.0)
    assert limit.refitted(recipe, rows, "topology") == recipe


def test_where_nothing_is_left_one_epoch_remains() -> None:
    recipe = preset("quick")
    rows = _rows("operations", 6, 1e5)
    cut = _limit(1000).refitted(recipe, rows, "topology")
    assert (cut.topology.epochs, cut.train.epochs, cut.baselines) == (1, 1, ())


def test_what_changed_is_told_but_not_of_a_published_cell_that_is_left_out() -> None:
    recipe = build_recipe("quick", overrides=["baselines=published"])
    longer = build_recipe("quick", overrides=["baselines=published", "train.epochs=44"])
    told = list(recipe_changes(recipe, longer))
    assert "train.epochs was 22, is 44" in told
    assert "train.published_epochs was 38, is 76" in told
    without = longer.model_copy(update={"baselines": ()})
    told = list(recipe_changes(recipe, without))
    assert "train.epochs was 22, is 44" in told
    assert not any("published_epochs" in line for line in told)


def test_it_can_be_kept_in_a_file() -> None:
    limit = _limit(90.0)
    assert TimeLimit.from_json(json.loads(json.dumps(limit.to_json())), "x") == limit
    wanted = replace(limit, wanted=preset("tiny").to_json())
    assert TimeLimit.from_json(json.loads(json.dumps(wanted.to_json())), "x") == wanted
    for damaged in (None, {}, {"seconds": "x"}, {**limit.to_json(), "speed": {"late": 3}}):
        with pytest.raises(UserError, match=r"plan\.json"):
            TimeLimit.from_json(damaged, "plan.json")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("45s", 45), ("30", 30), ("1.5 h", 5400)],
)
def test_times(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "2x", "h", "-1h", "0", "1h 2y", "nan", "1e9", "9" * 50])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UserError, match="--time-limit"):
        seconds_of(text)
