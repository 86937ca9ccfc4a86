"""Each study's trials, rows, table and files, on made-up results of trials."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dots.common.errors import UserError
from dots.nas.strategies import STRATEGIES
from dots.recipe import build_recipe
from dots.space.genotype import Genotype
from dots.study import figures
from dots.study.ablation import TOPOLOGIES
from dots.study.conduct import conduct
from dots.study.directory import StudyDirectory
from dots.study.execution.attempts import Work
from dots.study.lines import Row
from dots.study.options import Options
from dots.study.plug_in import RANDOM
from dots.study.rank import AVERAGE, BEST, DARTS, DOTS, SUPERNET, best_epoch
from dots.study.repeat import cells_to_match
from dots.study.studies import STUDIES, make_study
from dots.zoo.nasbench201 import Table, Truth, all_strings
from helpers.fabricated_trials import Inline, fabricate, fabricate_with_failures

COMMON = {
    "strategy", "topology_search", "seed", "accuracy", "seconds", "parameters", "skips", "error",
}  # fmt: skip


@pytest.fixture(scope="module")
def table() -> Path:
    return Path("made-up.parquet")


@pytest.fixture(scope="module")
def content() -> Table:
    """A table of all cells with made-up accuracies."""
    cells = all_strings()
    rng = np.random.default_rng(0)
    return Table(cells, {"cifar10_test": rng.uniform(10, 94, len(cells))})


@pytest.fixture(autouse=True)
def made_up_table(content: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """That table instead of a file."""
    monkeypatch.setattr(Truth, "load", classmethod(lambda cls, path, space: cls(content)))


def options(*overrides: str, table: Path | None = None, **more: Any) -> Options:
    space = ["space=nasbench201"] if table else []
    values: dict[str, Any] = {"data": "digits", "seeds": (0, 1), **more}
    recipe = build_recipe("tiny", overrides=[*space, *overrides])
    return Options(recipe=recipe, table=str(table) if table else None, **values)


@pytest.fixture(autouse=True)
def no_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than all else: one test of every study looks at what is drawn."""
    if "figures" not in request.function.__name__:
        monkeypatch.setattr(figures, "save", lambda *drawing: None)


def run(
    name: str, asked: Options, folder: Path, work: Work = fabricate
) -> tuple[list[dict[str, Any]], dict[str, Any], Inline]:
    """The rows, study.json, and the executor that ran the trials."""
    directory = StudyDirectory.create(name, asked, out=folder)
    executor = Inline(work)
    rows = conduct(make_study(name, asked), directory, executor)
    directory.close()
    return rows, json.loads((folder / "study.json").read_text()), executor


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("benchmark", [False, True])
def test_a_study_leaves_rows_of_one_shape_a_table_figures_and_a_caption(
    name: str, benchmark: bool, table: Path, tmp_path: Path
) -> None:
    asked = options(
        table=table if benchmark else None, strategies=("darts", "random"), train_seeds=1
    )
    rows, content, executor = run(name, asked, tmp_path / "study")
    assert content["rows"] == rows
    assert content["complete"]
    assert all(row.keys() == rows[0].keys() for row in rows)
    assert rows[0].keys() >= COMMON
    judged = [row for row in rows if row["error"] is None]
    assert all(0 <= row["accuracy"] <= 1 and row["skips"] >= 0 for row in judged)
    missing = {row.get("variant") for row in rows if row["error"] is not None}
    assert missing == ({"group-v1"} if benchmark and name == "ablation" else set())
    assert len(executor.started) == len(set(executor.started))
    if benchmark:
        assert not any(trial.startswith("train") for trial in executor.started)
    for figure in ("figure.png", "figure.svg"):
        assert (tmp_path / "study" / figure).stat().st_size > 1000
    text = (tmp_path / "study" / "table.md").read_text()
    assert "2 seeds (0, 1)" in text
    source = "benchmark's own" if benchmark else "trained from scratch on digits for 3 epochs"
    assert source in content["caption"]


def test_plug_in_compares_from_the_same_search_and_ends_with_the_random_cell(
    tmp_path: Path,
) -> None:
    asked = options(strategies=("darts", "gdas"))
    rows, content, executor = run("plug-in", asked, tmp_path / "study")
    searches = [name for name in executor.started if name.startswith("search")]
    assert len(searches) == 4
    assert Counter((r["strategy"], r["topology_search"]) for r in rows) == {
        ("darts", False): 2, ("darts", True): 2, ("gdas", False): 2, ("gdas", True): 2,
        (RANDOM, None): 2,
    }  # fmt: skip
    assert content["table"][-1]["strategy"] == RANDOM
    darts = [row for row in rows if row["strategy"] == "darts" and row["seed"] == 0]
    assert [row["seconds"] for row in darts] == [20.0, 50.0], "one operation search, then two"
    line = content["table"][0]
    accuracies = [row["accuracy"] for row in rows[:2]]
    assert line["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert line["accuracy"]["deviation"] == pytest.approx(np.std(accuracies, ddof=1))
    compared = content["comparisons"][0]
    gains = [with_ts["accuracy"] - row["accuracy"] for row, with_ts in zip(rows, rows[2:4])]  # noqa: B905 - the first two
    assert compared["label"] == "darts: topology search − own rule"
    assert compared["difference"]["mean"] == pytest.approx(np.mean(gains))
    assert compared["wins"] == sum(gain > 0 for gain in gains)
    page = (Path(__file__).parents[2] / "docs" / "studies.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0], names)
    said = names["gains"](tmp_path / "study")
    assert said[compared["label"]] == pytest.approx(100 * np.mean(gains))


def test_plug_in_in_the_benchmark_has_its_rule_and_the_two_edge_rule(
    table: Path, tmp_path: Path
) -> None:
    asked = options(table=table, strategies=("darts",), seeds=(3,))
    rows, content, _ = run("plug-in", asked, tmp_path / "study")
    assert [row["variant"] for row in rows] == [
        "best operation on every edge", "two-edge rule", "topology search", None,
    ]  # fmt: skip
    assert [row["topology_search"] for row in rows] == [False, False, True, None]
    for row in rows:
        assert row["accuracy"] == row["truth"]["cifar10_test"]["accuracy"] / 100
    counts = [len(node) for node in rows[1]["genotype"]["normal"]]
    assert counts == [1, 2, 2]
    assert content["references"]["mean of all 15,625 cells"] == pytest.approx(0.52, abs=0.01)


def test_what_fails_is_a_row_with_its_error_and_in_no_mean(tmp_path: Path) -> None:
    asked = options(strategies=("darts", "snas"))
    rows, content, _ = run("plug-in", asked, tmp_path / "study", fabricate_with_failures)
    assert len(rows) == 2 * 2 * 2 + 2
    errors = {(r["strategy"], r["seed"]): r["error"] for r in rows}
    assert errors["snas", 0] == "search: the loss is not finite"
    assert errors["darts", 1] == "training: out of luck"
    assert errors["darts", 0] is None
    snas = next(line for line in content["table"] if line["strategy"] == "snas")
    assert (snas["count"], snas["failed"], snas["accuracy"]) == (0, 2, None)
    darts = content["table"][0]
    assert (darts["count"], darts["failed"], darts["accuracy"]["count"]) == (1, 1, 1)
    text = (tmp_path / "study" / "table.md").read_text()
    assert "7 of 10 rows have no result" in text
    assert "out of luck" in text


def test_a_finished_study_is_not_done_again_and_failures_are(tmp_path: Path) -> None:
    asked = options(strategies=("darts", "snas"))
    before, _, _ = run("plug-in", asked, tmp_path / "study", fabricate_with_failures)
    directory = StudyDirectory.open(tmp_path / "study")
    executor = Inline(fabricate)
    study = make_study("plug-in", directory.options)
    rows = conduct(study, directory, executor)
    directory.close()
    assert directory.options == asked
    assert all(row["error"] is None for row in rows)
    kept = {(r["strategy"], r["variant"], r["seed"]): r for r in before if r["error"] is None}
    for row in rows:
        if kept_row := kept.get((row["strategy"], row["variant"], row["seed"])):
            assert row == kept_row
    assert not any("darts" in name for name in executor.started), "those searches had ended well"
    assert sum(name.startswith("search-snas") for name in executor.started) == 2
    again = Inline(fabricate)
    directory = StudyDirectory.open(tmp_path / "study")
    assert conduct(study, directory, again) == rows
    directory.close()
    assert again.started == []


def test_an_interrupted_study_is_the_undisturbed_one(tmp_path: Path) -> None:
    """The process dies after each trial in turn."""
    asked = options(strategies=("darts",), seeds=(0,))
    whole, content, executor = run("plug-in", asked, tmp_path / "whole")

    class DiesAfterOne(Inline):
        def wait(self, seconds: float) -> Any:
            if len(self.started) > 1:
                raise KeyboardInterrupt
            return super().wait(seconds)

    StudyDirectory.create("plug-in", asked, out=tmp_path / "torn").close()
    lives = 0
    while True:
        directory = StudyDirectory.open(tmp_path / "torn")
        try:
            rows = conduct(make_study("plug-in", asked), directory, DiesAfterOne(fabricate))
        except KeyboardInterrupt:
            lives += 1
            partial = json.loads((tmp_path / "torn" / "study.json").read_text())
            assert not partial["complete"]
            continue
        finally:
            directory.close()
        break
    assert lives == len(executor.started) - 1
    assert rows == whole
    assert json.loads((tmp_path / "torn" / "study.json").read_text()) == content


def test_rank_in_the_benchmark_rates_one_family_of_21_by_ten_measures(
    table: Path, tmp_path: Path
) -> None:
    rows, content, executor = run("rank", options(table=table, seeds=(0,)), tmp_path / "study")
    assert len(executor.started) == 5
    assert len(rows) == 10
    alone = next(row for row in rows if row["measure"] == BEST)
    assert alone["error"] == "there is no other seed to choose by"
    rows.remove(alone)
    for row in rows:
        assert row["topologies"] == len(row["scores"]) == len(row["accuracies"]) == 21
        assert row["accuracies"] == rows[0]["accuracies"], "the same topologies"
        assert row["regret"] >= 0
        assert row["best_accuracy"] == max(row["accuracies"])
    count = next(row for row in rows if row["measure"] == "number of edges alone")
    assert count["tau_equal_size"] is None
    assert sorted(set(count["scores"])) == [3, 4, 5, 6]
    assert content["table"][0]["tau"]["count"] == 1
    assert_epochs_are_ranked(rows, tmp_path / "study")


def assert_epochs_are_ranked(rows: list[Row], study: Path) -> None:
    """β keeps its order at every temperature, and so does what it says of topologies."""
    first, *others = rows
    assert [row["by_epoch"] for row in others] == [None] * len(others)
    for epoch, (row, heat) in enumerate(zip(first["by_epoch"], (10.0, 1.0), strict=True)):
        expected = {name: first[name] for name in ("tau", "tau_equal_size")}
        assert row == pytest.approx({"epoch": epoch, "temperature": heat, **expected})
    table = (study / "table.md").read_text()
    assert f"| 2 | 1 | {first['tau']:.2f} |" in table


def test_rank_in_the_darts_space_trains_ten_pairs_with_several_seeds(tmp_path: Path) -> None:
    asked = options(seeds=(0,), train_seeds=2)
    rows, _, executor = run("rank", asked, tmp_path / "study")
    assert sum(name.startswith("train") for name in executor.started) == 20
    assert len(rows) == 9
    rows = [row for row in rows if row["measure"] != BEST]
    assert_epochs_are_ranked(rows, tmp_path / "study")
    for row in rows:
        assert row["topologies"] == 10
        singles = np.array(row["single_accuracies"])
        assert row["accuracies"] == pytest.approx(singles.mean(axis=1))
        assert row["deviations"] == pytest.approx(singles.std(axis=1, ddof=1))
        assert row["noise"] == pytest.approx(np.sqrt((singles.var(axis=1, ddof=1)).mean()))
        assert row["tau_between_seeds"] is not None


def test_the_best_temperature_of_a_seed_is_chosen_by_the_others(
    table: Path, tmp_path: Path
) -> None:
    rows, _, _ = run("rank", options(table=table, seeds=(0, 1, 2)), tmp_path / "study")
    by = {(row["measure"], row["seed"]): row for row in rows}
    for seed in range(3):
        histories = [by[DOTS, other]["by_epoch"] for other in range(3) if other != seed]
        means = [sum(e["tau_equal_size"] for e in pair) / 2 for pair in zip(*histories)]  # noqa: B905 - two of equal length
        epoch = max(range(len(means)), key=lambda e: (means[e], e))
        row, own = by[BEST, seed], by[DOTS, seed]["by_epoch"][epoch]
        assert row["temperature"] == own["temperature"]
        assert row["tau_equal_size"] == pytest.approx(own["tau_equal_size"])
        assert by[AVERAGE, seed]["tau"] == pytest.approx(by[DOTS, seed]["tau"]), "made up alike"
        difference = by[SUPERNET, seed]["tau_equal_size"] - by[DARTS, seed]["tau_equal_size"]
        assert by[SUPERNET, seed]["above_darts"] == pytest.approx(difference)
        assert by[DARTS, seed]["above_darts"] is None


def test_the_best_epoch_is_that_with_the_best_mean_and_the_later_of_two() -> None:
    def history(*taus: float | None) -> list[Row]:
        return [{"tau_equal_size": tau} for tau in taus]

    assert best_epoch([history(0.9, 0.5, None), history(0.1, 0.6, None)]) == 1
    assert best_epoch([history(0.5, 0.2, 0.5)]) == 2
    assert best_epoch([history(None, -0.2), history(None, None)]) == 1
    assert best_epoch([history(None)]) is None
    assert best_epoch([]) is None


def test_rank_needs_five_edges_and_in_the_benchmark_a_table(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="set nodes to 4"):
        make_study("rank", options("nodes=2"))
    with pytest.raises(UserError, match="give --table"):
        make_study("rank", options("space=nasbench201"))


def test_ablation_varies_one_part_at_a_time(tmp_path: Path) -> None:
    rows, _, executor = run("ablation", options(seeds=(0,)), tmp_path / "study")
    first = [row for row in rows if row["part"].startswith("4a")]
    assert [row["variant"] for row in first] == list(TOPOLOGIES)
    assert {row["seconds"] for row in first} == {50.0}, "the operation search is paid for by all"
    second = {row["variant"]: row["retained"] for row in rows if row["part"].startswith("4b")}
    assert second == {"top1": 1, "top2": 2, "group-v1": 4, "group-v2": 2}
    assert sum(name.startswith("topology") for name in executor.started) == 3
    for row in first:
        nodes = row["genotype"]["normal"]
        if row["variant"].endswith("2 edges"):
            assert [len(node) for node in nodes] == [2, 2, 2, 2]


def test_ablation_names_what_a_space_lacks(table: Path, tmp_path: Path) -> None:
    rows, _, _ = run("ablation", options(table=table, seeds=(0,)), tmp_path / "study")
    errors = {row["variant"]: row["error"] for row in rows if row["part"].startswith("4b")}
    assert errors["group-v2"] is None
    assert "'nasbench201' has no operation groups 'v1'" in errors["group-v1"]


def test_random_cells_cost_what_the_search_cost(tmp_path: Path) -> None:
    asked = options(seeds=(0,), random_cells=100)
    rows, content, _ = run("random", asked, tmp_path / "study")
    assert len(rows) == 1 + 6, "50 s of search and 10 of training buy six trainings of 10 s"
    found, *others = [row["accuracy"] for row in rows]
    each, mean, best = content["comparisons"]
    assert each["pairs"] == 6
    assert each["wins"] == sum(found > other for other in others)
    assert mean["difference"]["mean"] == pytest.approx(found - np.mean(others))
    assert best["difference"]["mean"] == pytest.approx(found - max(others))
    capped, _, _ = run("random", options(seeds=(0,), random_cells=2), tmp_path / "capped")
    assert len(capped) == 1 + 2


def test_how_many_random_cells_match_is_the_expected_maximum_s_inverse() -> None:
    accuracies = np.array([0.1, 0.2, 0.3, 0.4])
    assert cells_to_match(accuracies, 0.25) == 1
    assert cells_to_match(accuracies, 0.2500001) == 2
    best_of_two = np.mean([max(a, b) for a in accuracies for b in accuracies])
    assert cells_to_match(accuracies, best_of_two - 1e-9) == 2
    assert cells_to_match(accuracies, best_of_two + 1e-9) == 3
    assert cells_to_match(accuracies, 0.5) is None


def test_repeat_has_the_best_and_the_mean(tmp_path: Path) -> None:
    rows, content, _ = run("repeat", options(seeds=(0, 1, 2)), tmp_path / "study")
    (line,) = content["table"]
    assert line["accuracy"]["best"] == max(row["accuracy"] for row in rows)
    assert line["count"] == 3
    for row in rows:
        Genotype.from_json(row["genotype"]).check_buildable()


def test_mistakes_are_found_before_anything_runs() -> None:
    with pytest.raises(UserError, match="unknown study 'plugin'"):
        make_study("plugin", options())
    with pytest.raises(UserError, match="unknown strategy 'dart'"):
        make_study("plug-in", options(strategies=("dart",)))
    with pytest.raises(UserError, match=r"setting 'method\.nonsense'"):
        make_study("plug-in", options("method.nonsense=1", strategies=("darts",)))
    with pytest.raises(UserError, match="no seeds"):
        make_study("repeat", options(seeds=()))
    with pytest.raises(UserError, match="twice"):
        make_study("repeat", options(seeds=(1, 1)))
    with pytest.raises(UserError, match="--column"):
        make_study("repeat", options(column="cifar10_test"))
    with pytest.raises(UserError, match="no column 'cifar'"):
        make_study("repeat", options(table=Path("x"), column="cifar"))
    with pytest.raises(UserError, match="'drop-nas'"):
        make_study("plug-in", options("space=s4", strategies=("drop-nas",)))


def test_a_strategy_that_does_not_fit_does_not_keep_others_from_running(tmp_path: Path) -> None:
    asked = options("space=s4", strategies=("darts", "drop-nas"), seeds=(0,))
    rows, _, _ = run("plug-in", asked, tmp_path / "study")
    errors = {row["strategy"]: row["error"] for row in rows}
    assert errors["darts"] is None
    assert "'drop-nas'" in errors["drop-nas"]
    assert "'s4'" in errors["drop-nas"]


def test_a_strategy_gets_the_method_settings_that_it_has(tmp_path: Path) -> None:
    asked = options("method.k=2", strategies=("darts", "pc-darts"), seeds=(0,))
    rows, _, _ = run("plug-in", asked, tmp_path / "study")
    assert all(row["error"] is None for row in rows)


def test_every_strategy_is_in_the_default_comparison() -> None:
    asked = options(strategies=tuple(STRATEGIES), seeds=(0,))
    study = make_study("plug-in", asked)
    searches = {trial.spec["recipe"]["strategy"] for trial in study.trials({})[:-1]}
    assert searches == set(STRATEGIES)
    assert study.expected() == 22 * 3 + 1
