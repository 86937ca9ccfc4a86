"""The zoo holds the published cells as they were published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dots import zoo
from dots.common.errors import UserError
from dots.space.genotype import Edge, Genotype
from dots.zoo.dense import dense_form
from helpers.shared_data import shared_data

ADDED = {"SNAS_aggressive"}  # from its release; not in the collection
FIXED_REDUCTION = "GDAS_FRC"  # its reduction cell is prose in the source, edges in the zoo


def published() -> list[dict[str, Any]]:
    """The published cells as they were collected."""
    values: list[dict[str, Any]] = json.loads(shared_data("genotypes.json").read_text())
    return values


def test_every_published_cell_is_in_the_zoo_unchanged() -> None:
    collected = published()
    kept = [name for name in zoo.names() if name not in ADDED]
    assert kept == [value["name"] for value in collected]
    for value in collected:
        ours = zoo.load(value["name"]).to_json()
        theirs = value["genotype"]
        if value["name"] == FIXED_REDUCTION:
            for key in ("reduce", "reduce_concat"):
                assert theirs.pop(key) is None
                ours["genotype"].pop(key)
        else:
            assert ours["extra_operations"] == sorted(value["extra_ops"])
        assert ours["genotype"] == theirs
        assert ours["searched_on"] == value["searched_on"]
        assert ours["paper"] == value["source_paper"]


def test_every_printed_figure_is_kept() -> None:
    for value in published():
        printed = dict(value["printed"])
        places = [printed.pop(key, {}) for key in ("repo_readme", "repo_file")]
        source = printed.pop("source", None)
        expected = [figures for figures in (printed, *places) if figures]
        entry = zoo.load(value["name"])
        assert [dict(figures) for figures in entry.printed.values()] == expected
        assert source is None or next(iter(entry.printed)) == source


def test_there_are_40_cells_with_names_of_their_own_and_all_can_be_built() -> None:
    assert len(set(zoo.names())) == 40
    for entry in zoo.entries():
        entry.genotype.check_buildable()
        assert entry.paper
        assert entry.repository
        assert Genotype.from_json(entry.to_json()["genotype"]) == entry.genotype
        assert json.loads(json.dumps(entry.to_json()))["name"] == entry.name


def test_a_figure_comes_from_the_first_place_that_printed_it() -> None:
    entry = zoo.load("DARTS_V2")
    assert entry.figure("cifar_params_M") == 3.4
    assert entry.figure("cifar_madds_M") is None
    assert zoo.load("FairDARTS_a").figure("cifar_madds_M") == 373


@pytest.mark.parametrize("name", ["DOTS_C10", "dots_c10", "DOTS-c10", " dots c10 "])
def test_case_and_dashes_do_not_matter(name: str) -> None:
    assert zoo.load(name).name == "DOTS_C10"


def test_an_unknown_name_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UserError, match="did you mean 'DOTS_C10'"):
        zoo.load("DOTS_C1")
    with pytest.raises(UserError, match=r"choose .*GDAS_V1"):
        zoo.load("?")


def test_a_genotype_is_named_by_zoo_name_file_or_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mine = zoo.load("ASAP").genotype
    for name in ("mine", "DOTS_C10", "genotype.json"):
        mine.save(name)
    assert zoo.resolve("DOTS_C10") == zoo.load("DOTS_C10").genotype
    assert zoo.resolve("./DOTS_C10") == mine
    assert zoo.resolve("mine") == mine
    assert zoo.resolve(str(tmp_path)) == mine


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("absent.json", "no file 'absent.json'"),
        ("runs/absent", "no file 'runs/absent'"),
        (".", "no file 'genotype.json'"),
        ("DOTS_C1", "did you mean 'DOTS_C10'"),
        ("", "neither a genotype file nor a published cell"),
        ("x" * 10_000, "neither a genotype file nor a published cell"),
        ("a\0b", "neither a genotype file nor a published cell"),
        ("a\0b.json", "cannot read|no file"),
    ],
)
def test_what_is_no_genotype_is_refused(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said) as caught:
        zoo.resolve(text)
    assert len(str(caught.value)) < 1200


@pytest.mark.parametrize("name", zoo.PUBLISHED)
def test_a_dense_form_differs_in_its_separable_convolutions_alone(name: str) -> None:
    published, dense = zoo.load(name).genotype, zoo.resolve(f"{name}-dense")
    assert dense != published
    for kind, cell in published.cells.items():
        other = dense.cells[kind]
        assert other.concat == cell.concat
        for edges, changed in zip(cell.nodes, other.nodes, strict=True):
            for edge, new in zip(edges, changed, strict=True):
                separable = edge.op.startswith(("sep_", "dil_"))
                assert new == (Edge("nor_conv_3x3", edge.source) if separable else edge)
    assert dense_form(dense) == dense
