"""Counting the known networks for the data of a run: as `dots train NAME` would build them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dots import zoo
from dots.cli.app import run
from dots.common.errors import UserError
from dots.networks.body import Shape
from dots.networks.count import network_cost
from dots.networks.reference import reference_cost
from dots.recipe import build_recipe
from dots.runs import known_sizes
from dots.runs.directory import RunDirectory


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cells and two networks instead of all."""
    entries = tuple(zoo.load(name) for name in ("DOTS_C10", "ENAS_micro"))
    monkeypatch.setattr(zoo, "entries", lambda: entries)
    monkeypatch.setattr(known_sizes, "REFERENCES", ("mobilenet", "mnasnet"))


def make(path: Path, size: int) -> Path:
    with RunDirectory.create(build_recipe("tiny"), out=path) as directory:
        data = {"classes": ["a", "b", "c"], "channels": 1, "image_size": size}
        directory.write_json("data.json", data)
    return path


@pytest.mark.usefixtures("few")
def test_counts_are_those_of_the_networks(tmp_path: Path) -> None:
    path = make(tmp_path / "run", 16)
    content = json.loads(known_sizes.write_sizes(path).read_text())
    assert content["image_size"] == 16
    found = {one["name"]: one for one in content["networks"]}
    assert list(found) == ["DOTS_C10", "ENAS_micro", "mobilenet", "mnasnet"]
    train = build_recipe("tiny").train
    shape = Shape(train.cells, train.channels, 1, 3, stem=train.stem)
    cell = network_cost(zoo.load("DOTS_C10").genotype, shape, 16)
    other = reference_cost("mobilenet", 3, 1, 16)
    for name, kind, cost in (("DOTS_C10", "cell", cell), ("mobilenet", "reference", other)):
        assert found[name] == {
            "name": name,
            "kind": kind,
            "parameters": cost.parameters,
            "multiply_adds": cost.multiply_adds,
        }


@pytest.mark.usefixtures("few")
def test_what_cannot_be_built_is_left_out(tmp_path: Path) -> None:
    content = json.loads(known_sizes.write_sizes(make(tmp_path / "run", 7)).read_text())
    assert [one["name"] for one in content["networks"]] == ["DOTS_C10", "ENAS_micro"]


@pytest.mark.usefixtures("few")
def test_the_command_counts_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path / "run", 16)
    assert run(["report", str(path), "--sizes"]) == 0
    assert (path / "sizes.json").is_file()
    assert run(["report", str(path), str(path), "--sizes"]) == 2
    assert "--sizes is for the report of one run" in capsys.readouterr().err


def test_a_run_without_data_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "run", 16)
    (path / "data.json").write_text("{}")
    with pytest.raises(UserError, match=r"data\.json"):
        known_sizes.write_sizes(path)
