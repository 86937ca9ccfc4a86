"""Genotypes of other programs: read as what they are, written so that they are read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dots import zoo
from dots.common.errors import UserError
from dots.space.formats import WRITERS, is_text, read
from dots.space.formats.darts import literal
from dots.space.genotype import Cell, Edge, Genotype
from dots.zoo.nasbench201 import from_string

DARTS_V2 = """
import os
Genotype = namedtuple('Genotype', 'normal normal_concat reduce reduce_concat')

DARTS_V2 = Genotype(
  normal=[
    ('sep_conv_3x3', 0), ('sep_conv_3x3', 1),
    ('sep_conv_3x3', 0), ('sep_conv_3x3', 1),
    ('sep_conv_3x3', 1), ('skip_connect', 0),
    ('skip_connect', 0), ('dil_conv_3x3', 2),
  ],
  normal_concat=[2, 3, 4, 5],
  reduce=[
    ('max_pool_3x3', 0), ('max_pool_3x3', 1),
    ('skip_connect', 2), ('max_pool_3x3', 1),
    ('max_pool_3x3', 0), ('skip_connect', 2),
    ('skip_connect', 2), ('max_pool_3x3', 1),
  ],
  reduce_concat=[2, 3, 4, 5])
"""
CONFOPT = (
    "DARTSGenotype(normal=[('sep_conv_5x5', 0), ('skip_connect', 1)], normal_concat=range(2, 3), "
    "reduce=[('dil_conv_3x3', 1), ('skip_connect', 0)], reduce_concat=range(2, 3))"
)
NB201 = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"
NNI_201 = {
    "cell/0_1": "conv_3x3",
    "cell/0_2": "none",
    "cell/1_2": "skip_connect",
    "cell/0_3": "avg_pool_3x3",
    "cell/1_3": "none",
    "cell/2_3": "conv_1x1",
}
NNI = {"width": 36, "num_cells": 20} | {
    f"{kind}/{what}_2_{slot}": value
    for kind in ("normal", "reduce")
    for slot, (op, source) in enumerate([("max_pool_3x3", 1), ("sep_conv_3x3", 0)])
    for what, value in (("op", op), ("input", source))
}
TWO = ((Edge("max_pool_3x3", 1), Edge("sep_conv_3x3", 0)),)


def same_graph(one: Genotype, other: Genotype) -> bool:
    """Whether all is equal but the order of a node's edges."""
    return one.space == other.space and all(
        cell.concat == other.cells[kind].concat
        and [sorted(map(repr, node)) for node in cell.nodes]
        == [sorted(map(repr, node)) for node in other.cells[kind].nodes]
        for kind, cell in one.cells.items()
    )


def test_the_text_of_the_release_is_the_published_cell() -> None:
    assert read(DARTS_V2, "a file") == zoo.load("DARTS_V2").genotype


def test_each_format_is_told_from_the_others() -> None:
    confopt = read(CONFOPT, "a file")
    assert confopt.cells["normal"] == Cell(
        ((Edge("sep_conv_5x5", 0), Edge("skip_connect", 1)),), (2,)
    )
    nb201 = from_string(NB201)
    assert read(NB201, "a file") == nb201
    assert read(json.dumps(NNI_201), "a file") == nb201
    older = {key.replace("/", "__"): op for key, op in NNI_201.items()}
    assert read(repr(older), "a file") == nb201
    assert read("[2, 1, 4, 0, 1, 3]", "a file") == nb201
    assert read("(2, 1, 4, 0, 1, 3)", "a file") == nb201
    both = Genotype({"normal": Cell(TWO, (2,)), "reduce": Cell(TWO, (2,))})
    assert read(json.dumps(NNI), "a file") == both
    lists = {key: [each] if "input" in key else each for key, each in NNI.items()}
    assert read(json.dumps(lists), "a file") == both
    pairs = {"normal": [("max_pool_3x3", 1), ("sep_conv_3x3", 0)], "normal_concat": (2,)}
    printed = pairs | {"reduce": pairs["normal"], "reduce_concat": [2]}
    assert read(repr(printed), "a file") == both


def test_other_programs_are_not_given_operations_that_they_lack() -> None:
    for form in ("nni", "naslib"):
        with pytest.raises(UserError, match=r"DARTS space.*use 'darts' or 'dots'"):
            WRITERS[form](zoo.resolve("DOTS_C10-dense"))


def test_naslib_has_its_own_names_and_outputs() -> None:
    text = DARTS_V2.replace("normal_concat=[2, 3, 4, 5]", "normal_concat=[2, 3, 4, 5, 6]")
    text = text.replace("reduce_concat=[2, 3, 4, 5]", "reduce_concat=[4, 5, 6]")
    assert read(text, "a file") == zoo.load("DARTS_V2").genotype
    zero = CONFOPT.replace("'skip_connect', 1", "'zero', 1")
    assert read(zero, "a file").cells["normal"].nodes == ((Edge("sep_conv_5x5", 0),),)
    config = json.loads(WRITERS["naslib"](zoo.load("DARTS_V2").genotype))
    prefix = "NetworkSelectorDatasetInfo:darts:"
    assert config[f"{prefix}edge_normal_11"] == "dil_conv_3x3"  # node 5 from node 2
    assert config[f"{prefix}inputs_node_normal_5"] == "0_2"


@pytest.mark.parametrize("form", WRITERS)
def test_what_is_written_is_read_back(form: str) -> None:
    written = 0
    nb201 = from_string(NB201)
    for genotype in (nb201, *(entry.genotype for entry in zoo.entries())):
        try:
            text = WRITERS[form](genotype)
        except UserError:
            continue
        written += 1
        assert same_graph(read(text, form), Genotype(genotype.cells, genotype.space)), text
    assert written >= {"dots": 41, "nasbench201": 1}.get(form, 10)


def test_a_file_and_the_command_line_take_them(tmp_path: Path) -> None:
    path = tmp_path / "cell.txt"
    path.write_text(CONFOPT)
    assert Genotype.load(path) == zoo.resolve(str(path)) == zoo.resolve(CONFOPT)
    assert zoo.resolve(NB201) == from_string(NB201)
    assert not is_text("DOTS_C10")
    assert not is_text("cells/DOTS.json")


WRONG = {
    "two": (DARTS_V2 + CONFOPT, "found 2 (DARTS_V2, without a name)"),
    "a name": ("Genotype(normal=os.system('true'), normal_concat=[2])", "line 1: expected names"),
    "a call": ("Genotype(normal=range(10**9), normal_concat=[2])", "line 1"),
    "a field": (CONFOPT.replace("reduce=", "reduced="), "no 'reduced': did you mean 'reduce'?"),
    "nothing": ("Genotype()", "'normal' must be a list"),
    "open": ("Genotype(normal=[", "line 1"),
    "an operation": (CONFOPT.replace("sep_conv_5x5", "sep_conv_9x9"), "'sep_conv_9x9'"),
    "odd": (CONFOPT.replace("('sep_conv_5x5', 0), ", ""), "an even number"),
    "deep": ("Genotype(" + "-" * 100_000 + "1)", "a file: "),
    "many brackets": ("Genotype(" + "[" * 5_000, "a file: "),
    "long": ("Genotype(" + " " * 300_000, "too many"),
    "nni": ('{"normal/op_2_0": "none"}', "'normal/input_2_0'"),
    "nni's node": ('{"normal/op_1_0": "none", "normal/input_1_0": 0}', "'normal/input_1_0'"),
    "nni's input": ('{"normal/op_2_0": "none", "normal/input_2_0": [0, 1]}', "a list"),
    "nni's cell": ('{"cell/0_1": "conv_3x3"}', "6 edges"),
    "nni's half": (
        '{"normal/op_2_0": "skip_connect", "normal/input_2_0": 0}',
        "no 'reduce' cell",
    ),
    "naslib": ("[0, 1, 2, 3, 4, 5]", "5 is none"),
    "naslib's edge": ('{"edge_normal_14": "skip_connect"}', "numbered 0 to 13"),
    "naslib's name": ('{"edge_normal_0": 3}', "unknown operation 3"),
    "nasbench201": ("|nor_conv_3x3~0|", "3 nodes"),
    "json": ('{"normal": [}', "is not JSON (line 1"),
    "neither": ("hello", "is not JSON"),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_one_line_that_names_the_file(name: str) -> None:
    text, line = WRONG[name]
    with pytest.raises(UserError) as caught:
        read(text, "a file")
    found = str(caught.value)
    assert found.startswith("a file")
    assert line in found
    assert "\n" not in found
    assert len(found) < 400


def test_what_formats_cannot_hold_is_said() -> None:
    three = Cell((tuple(Edge("skip_connect", 0) for _ in range(3)),), (2,))
    genotype = Genotype({"normal": three, "reduce": three})
    with pytest.raises(UserError, match="two edges for each node"):
        WRITERS["darts"](genotype)
    one = Cell(((Edge("skip_connect", 0),),), (2,))
    single = Genotype({"normal": one, "reduce": one})
    assert read(WRITERS["darts"](single), "a file") == single  # with "none" beside it
    for form in ("nni", "naslib", "nasbench201"):
        with pytest.raises(UserError):
            WRITERS[form](single)
    with pytest.raises(UserError, match="reduction cell"):
        WRITERS["confopt"](from_string(NB201))


def test_literals_are_values_and_nothing_else() -> None:
    assert literal("{'a': [1, (2.5, 'b')]}") == {"a": [1, [2.5, "b"]]}
    for text in ("x", "1 + 1", "{**{}}", "{1: 2}", "f'{x}'", "a = 1", "1; 2", "True and open"):
        with pytest.raises(UserError):
            literal(text)
