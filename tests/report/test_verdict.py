"""The verdict says what the numbers allow, and no more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dots.report.reading import read_run
from dots.report.verdict import Verdict, difference, verdict, wilson
from helpers.fabricated_plan import Plan
from helpers.fabricated_run import fabricate


def judged(tmp_path: Path, plan: Plan) -> Verdict:
    found = verdict(read_run(fabricate(tmp_path / "run", plan)))
    assert found is not None
    return found


def test_a_lead_within_chance_is_a_perhaps(tmp_path: Path) -> None:
    found = judged(tmp_path, Plan(accuracy=0.975, random_accuracy=35 / 36, test_images=360))
    assert found.sentence == (
        "Perhaps: the found cell is ahead of the random cell by 0.28 points "
        "(97.50 % against 97.22 %, one of 360 test images)."
    )
    remarks = " ".join(found.remarks)
    assert "may be nothing but chance" in remarks
    assert "trained once, from one seed: there is no spread" in remarks


def test_a_clear_lead_is_a_yes(tmp_path: Path) -> None:
    found = judged(tmp_path, Plan(accuracy=0.95, random_accuracy=0.9, test_images=10_000))
    assert found.sentence.startswith("In this one run, yes: the found cell is ahead")
    assert "500 of 10000 test images" in found.sentence
    assert "does not include zero" in " ".join(found.remarks)


def test_a_lost_race_is_said_plainly(tmp_path: Path) -> None:
    found = judged(tmp_path, Plan(accuracy=0.95, random_accuracy=0.97, test_images=1000))
    assert found.sentence.startswith("No: the random cell won by 2.00 points")
    assert "did not pay off" in found.sentence


def test_a_tie_is_no_success(tmp_path: Path) -> None:
    found = judged(tmp_path, Plan(accuracy=0.95, random_accuracy=0.95))
    assert found.sentence.startswith("No difference")


def test_without_a_random_cell_there_is_no_verdict(tmp_path: Path) -> None:
    found = judged(tmp_path, Plan(baselines=("darts-policy",)))
    assert found.sentence.startswith("This run cannot say")
    assert found.scatters  # two cells are still worth a picture


def test_other_sizes_are_told(tmp_path: Path) -> None:
    found = judged(tmp_path, Plan())  # 184 k against 201 k parameters
    assert "8 % fewer parameters" in " ".join(found.remarks)


def test_the_rows_are_signed_against_the_found_cell(tmp_path: Path) -> None:
    found = judged(tmp_path, Plan(accuracy=0.95, random_accuracy=0.96))
    assert [lead and round(100 * lead, 2) for _, _, lead in found.rows] == [None, 1.0, -0.4]


RIVALS = ("random", "plain", "published")


def test_the_best_opponent_decides(tmp_path: Path) -> None:
    others = {"plain": 0.98, "published": 0.96}
    found = judged(tmp_path, Plan(baselines=RIVALS, accuracy=0.97, other_accuracies=others))
    assert found.sentence.startswith("No: the plain network won by 1.00 points")
    assert [title for title, _, _ in found.rows] == [
        "Found cell", "Random cell", "Published cell, trained longer", "Plain network",
    ]  # fmt: skip
    assert "search and training of the found cell took 2 min 25 s" in " ".join(found.remarks)


def test_a_lead_over_all_is_told_by_the_least(tmp_path: Path) -> None:
    others = {"plain": 0.9, "published": 0.96}
    plan = Plan(baselines=RIVALS, accuracy=0.97, random_accuracy=0.9, other_accuracies=others)
    found = judged(tmp_path, plan)
    assert "ahead of the published cell, trained longer by 1.00 points" in found.sentence
    assert found.sentence.endswith(", and of the others by more.")


@pytest.mark.parametrize(
    ("winner", "said"),
    [
        ("GDAS_V1", "dots train GDAS_V1 DATA would have trained it without a search"),
        ("random-1", "The found cell is a random one"),
        ("searched", "The found cell is the searched one: of 2 cells the best on half B"),
        ("probable-2", "probable-2, named by the search"),
    ],
)
def test_where_the_found_cell_is_from_is_said(tmp_path: Path, winner: str, said: str) -> None:
    found = judged(tmp_path, Plan(winner=winner))
    assert said in found.remarks[0]
    assert found.halving[0].origin == winner
    assert [v.accuracy for v in found.halving[0].validation] == [0.91, 0.95] or winner == "random-1"
    assert len(found.halving) == (2 if winner in ("searched", "random-1") else 3)


@pytest.mark.parametrize(
    ("dense", "limit", "said"),
    [(True, None, "GDAS_V1-dense DATA"), (True, 9, "GDAS_V1 DATA"), (False, None, "GDAS_V1 DATA")],
)
def test_a_dense_winner_is_named_so(
    tmp_path: Path, dense: bool, limit: int | None, said: str
) -> None:
    run = fabricate(tmp_path / "run", Plan(winner="GDAS_V1"))
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["halving"] = {"cells": 3, "dense": dense}
    recipe["budget"] = {"max_parameters": limit}
    (run / "recipe.json").write_text(json.dumps(recipe))
    remarks = verdict(read_run(run)).remarks
    assert f"dots train {said} would have" in remarks[0]
    assert ("dense form" in " ".join(remarks)) == ("dense" in said)


@pytest.mark.parametrize("warm", [True, False])
def test_what_the_training_began_with_is_said(tmp_path: Path, warm: bool) -> None:
    run = fabricate(tmp_path / "run", Plan(winner="random-1"))
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["halving"] = {"cells": 3, "warm_start": warm}
    (run / "recipe.json").write_text(json.dumps(recipe))
    found = verdict(read_run(run))
    assert found is not None
    assert found.warm_start == warm


def test_an_untested_run_has_no_verdict(tmp_path: Path) -> None:
    assert verdict(read_run(fabricate(tmp_path / "run", Plan(until="train")))) is None


def test_wilson_by_hand() -> None:
    # 9 of 10: centre (0.9 + 3.8415/20) / 1.38415, half width 1.96 sqrt(0.009 + 0.0096037) / 1.38415
    low, high = wilson(0.9, 10)
    assert low == pytest.approx(0.5958, abs=1e-4)
    assert high == pytest.approx(0.9821, abs=1e-4)
    assert wilson(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)


def test_newcombe_by_hand() -> None:
    # Newcombe's method 10; the Wilson intervals are 0.7112..0.8666 and 0.5020..0.6906.
    low, high = difference(0.8, 0.6, 100)
    assert low == pytest.approx(0.2 - (0.0888**2 + 0.0906**2) ** 0.5, abs=3e-4)
    assert high == pytest.approx(0.2 + (0.0666**2 + 0.0980**2) ** 0.5, abs=3e-4)


@given(one=st.floats(0, 1), other=st.floats(0, 1), count=st.integers(1, 10**6))
def test_intervals_contain_their_estimates(one: float, other: float, count: int) -> None:
    low, high = wilson(one, count)
    assert 0 <= low <= one + 1e-12
    assert one - 1e-12 <= high <= 1
    low, high = difference(one, other, count)
    assert low - 1e-12 <= one - other <= high + 1e-12
    assert difference(other, one, count) == pytest.approx((-high, -low), abs=1e-9)
