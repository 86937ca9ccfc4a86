"""A run knows what it had from outside, and asks for it again; it never loads it by itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from torch import nn

import dots
from dots.cli.app import run as command
from dots.common.errors import UserError
from dots.common.plugins import NOTHING, Given, handed_over, load_reference
from dots.nas.plan import make_plan
from dots.nas.strategies.base import OperationSearch
from dots.nas.strategies.darts import Darts
from dots.networks.operations.candidates import OperationStyle, SepConv
from dots.recipe import Recipe, build_recipe
from dots.runs.directory import RunDirectory
from dots.runs.plugins import check_plugins, notes, plugin_changes, record_of
from dots.space.search_space import darts_space, named_space
from helpers.outside import install

FILE = """
from dots.nas.strategies.base import OperationSearch
from dots.nas.strategies.darts import Darts
from dots.space.search_space import darts_space

class Mine(Darts):
    name = "mine"

class Half(OperationSearch):
    name = "half"

SMALL = darts_space(1, ("skip_connect", "sep_conv_3x3"), "small")
DARTS = darts_space(1)
"""
ONE_EPOCH = [
    "data.limit=40", "operations.epochs=1", "operations.weight_epochs=0", "topology.epochs=1",
    "topology.weight_epochs=0", "train.epochs=1", "baselines=[]", "nominal_images=none",
    "least_steps=none",
    *(f"{stage}.{size}" for stage in ("operations", "topology", "train")
      for size in ("cells=2", "channels=4")),
]  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


def given(file: Path, strategy: str | None = "Mine", space: str | None = "SMALL") -> Given:
    return Given(*(name and load_reference(f"{file}:{name}") for name in (strategy, space)))


def recipe(**changes: str) -> Recipe:
    return build_recipe("tiny", overrides=[f"{k}={v}" for k, v in changes.items()])


MINE = recipe(strategy="mine.py:Mine", space="mine.py:SMALL", retain="top1")


def begun(file: Path, made: Recipe = MINE) -> RunDirectory:
    record = record_of(make_plan(made, given(file)).plugins())
    return RunDirectory.create(made, out=file.parent / "run", plugins=record)


def test_a_plan_takes_what_is_given_and_keeps_it(file: Path) -> None:
    plan = make_plan(MINE, given(file))
    assert (plan.strategy.name, plan.space.name, plan.space.cell.nodes) == ("mine", "small", 1)
    longer = plan.having(MINE.model_copy(update={"nodes": 3}))
    assert longer.strategy is plan.strategy
    assert longer.space.cell.nodes == 3
    assert [kind for kind, _ in plan.plugins()] == ["strategy", "space"]
    assert list(make_plan(recipe()).plugins()) == []


@pytest.mark.parametrize(
    ("strategy", "space", "message"),
    [
        ("SMALL", None, "mine.py:SMALL is no strategy: make it a subclass"),
        ("Half", None, "the strategy mine.py:Half is not complete: it lacks "),
        (None, "Mine", "mine.py:Mine is no search space"),
        (None, "DARTS", "mine.py:DARTS calls itself 'darts', which is one of ours"),
    ],
)
def test_another_thing_is_refused(
    file: Path, strategy: str | None, space: str | None, message: str
) -> None:
    handed = given(file, strategy, space)
    names = {"strategy": handed.strategy, "space": handed.space}
    made = recipe(**{kind: plugin.name for kind, plugin in names.items() if plugin})
    with pytest.raises(UserError, match=message):
        make_plan(made, handed)


def test_a_run_records_where_each_came_from_and_asks_for_it(file: Path) -> None:
    with begun(file) as run:
        written = run.read_object("environment.json")["plugins"]
        assert set(written) == {"strategy mine.py:Mine", "space mine.py:SMALL"}
        check_plugins(run, given(file))
        assert list(plugin_changes(run, given(file))) == []
        for handed, message in (
            (NOTHING, "the strategy mine.py:Mine is not given here: name it with --strategy"),
            (given(file, "Half"), "the strategy mine.py:Mine is not mine.py:Half: name it with"),
            (given(file, "Mine", None), "the space mine.py:SMALL is not given here: name it"),
        ):
            with pytest.raises(UserError, match=message):
                check_plugins(run, handed)
        assert len(list(notes(run, NOTHING))) == 2
        file.write_text(FILE + "# changed\n")
        first, second = plugin_changes(run, given(file))
        assert first.startswith("the sha256 of the strategy mine.py:Mine was ")
        assert second.startswith("the sha256 of the space mine.py:SMALL was ")


def test_one_that_the_run_has_not_is_refused(file: Path) -> None:
    with (
        RunDirectory.create(recipe(), out=file.parent / "run") as run,
        pytest.raises(UserError, match=r"the run's strategy is darts, not mine.py:Mine: leave"),
    ):
        check_plugins(run, given(file))


@pytest.mark.parametrize(
    "words", [["plug-in", "--strategies", "darts,a.py:B"], ["rank", "--space", "a.py:B"]]
)
def test_a_study_takes_no_files(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["study", words[0], "digits", *words[1:]]) == 2
    told = capsys.readouterr().err
    assert told.startswith("dots: a.py:B: the trials of a study run in other processes")


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--resume", "run"],
        ["report", "run"],
        ["predict", "run", "mine.py"],
        ["count", "run"],
        ["export", "run", "--to", "code"],
        ["test", "run", "digits"],
        ["train", "run", "digits"],
    ],
)
def test_no_command_loads_a_file_that_only_the_run_names(
    file: Path,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    begun(file).close()
    marker = file.parent / "loaded"
    file.write_text(f"open({str(marker)!r}, 'w')\n{FILE}")
    monkeypatch.chdir(file.parent)
    (file.parent / "run/genotype.json").write_text(json.dumps({"space": "small"}))
    (file.parent / "run/job.json").write_text(json.dumps({"kind": "run", "data": "digits"}))
    status = command(words)
    told = capsys.readouterr().err
    assert "mine.py:SMALL is not given here" in told or "mine.py:Mine is not given here" in told
    assert status == (0 if words[0] == "report" else 2)
    assert not marker.exists()


def test_an_installed_operation_works_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "from dots.networks.operations.candidates import SepConv\n"
        "def big(c, s, style):\n    return SepConv(c, 9, s, style.affine)\n"
    )
    entries = {"dots.operations": {"sep_conv_9x9": "outside_big:big"}}
    project = {"name": "outside-big", "version": "1", "entry-points": entries}
    install(tmp_path, {"outside_big.py": code}, project)
    monkeypatch.syspath_prepend(tmp_path)
    space = darts_space(1, ("skip_connect", "sep_conv_9x9"), "big")
    assert space.groups["v2"] == (("skip_connect",), ("sep_conv_9x9",))
    edge = {"op": "sep_conv_9x9", "from": 0}
    cell = dots.Genotype.from_json(
        {"normal": [[edge]], "normal_concat": [2], "reduce": [[edge]], "reduce_concat": [2]}
    )
    network = dots.build(cell, classes=3, cells=2, channels=4)
    assert any(isinstance(module, SepConv) for module in network.modules())
    monkeypatch.undo()
    with pytest.raises(UserError, match="unknown operation 'sep_conv_9x9'"):
        dots.Genotype.from_json(cell.to_json())


class Wide(nn.Module):
    """A separable convolution of 9×9."""

    def __new__(cls, channels: int, stride: int, style: OperationStyle) -> SepConv:  # type: ignore[misc]
        return SepConv(channels, 9, stride, style.affine)


class Sharp(Darts):
    name: ClassVar[str] = "sharp"
    published: ClassVar[Mapping[str, object]] = {}


def test_from_python_values_are_enough(tmp_path: Path) -> None:
    space = darts_space(1, ("skip_connect",), "wide", own={"wide": Wide})
    found = dots.run(
        "digits", build_recipe("tiny", overrides=ONE_EPOCH), strategy=Sharp, space=space,
        out=tmp_path / "run",
    )  # fmt: skip
    assert found.genotype.graph is space
    with pytest.raises(UserError, match="the space python:wide is not given here"):
        dots.load(tmp_path / "run")
    assert dots.load(tmp_path / "run", space=space).classes == tuple("0123456789")
    recorded = json.loads((tmp_path / "run/environment.json").read_text())["plugins"]
    name = f"{Sharp.__module__}:Sharp"
    assert set(recorded) == {
        f"strategy {name}",
        "space python:wide",
        f"operation {Wide.__module__}:Wide",
    }
    assert recorded[f"strategy {name}"]["sha256"]
    with RunDirectory.open(tmp_path / "run") as run:
        renamed = replace(handed_over(space, space.name), name="file.py:WIDE")
        check_plugins(run, Given(handed_over(Sharp), renamed))
    with pytest.raises(UserError, match="unknown search space 'wide'"):
        named_space("wide")
    assert not any(
        cls.__name__ == "Sharp"
        for cls in vars(sys.modules["dots.nas.strategies"]).values()
        if isinstance(cls, type) and issubclass(cls, OperationSearch)
    )
