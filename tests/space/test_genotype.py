"""Genotypes: the published format in, the same cell out, and everything else refused."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dots.common.errors import UserError
from dots.space.cell import MAX_EDGES, MAX_NODES
from dots.space.genotype import Cell, Edge, Genotype
from dots.space.search_space import GENOTYPE_OPERATIONS, named_space

SPACES = ("darts", "s2", "s3", "s4", "nasbench201")


def plain(**changes: Any) -> dict[str, Any]:
    """A valid genotype of two one-node cells as JSON, with some fields changed."""
    nodes = [[{"op": "sep_conv_3x3", "from": 0}, {"op": "skip_connect", "from": 1}]]
    value = {"normal": nodes, "normal_concat": [2], "reduce": nodes, "reduce_concat": [2]}
    return copy.deepcopy(value | changes)


def refusal(value: Any) -> str:
    """The error line for a JSON value that must be refused."""
    with pytest.raises(UserError) as caught:
        Genotype.from_json(value, where="'cell.json'")
    line = str(caught.value)
    assert line.startswith("'cell.json': ")
    assert len(line.splitlines()) == 1
    assert len(line) < 700
    return line


@st.composite
def cells(draw: st.DrawFn, inputs: int, last_only: bool) -> Cell:
    """Any valid cell, parallel edges, nodes without input and odd outputs included."""
    count = draw(st.integers(1, 6))
    operations = st.sampled_from(sorted(GENOTYPE_OPERATIONS))
    nodes = [
        tuple(draw(st.lists(st.builds(Edge, operations, st.integers(0, target - 1)), max_size=4)))
        for target in range(inputs, inputs + count)
    ]
    every = st.integers(0, inputs + count - 1)
    concat = (inputs + count - 1,) if last_only else draw(st.lists(every, min_size=1, unique=True))
    return Cell(tuple(nodes), tuple(concat))


@st.composite
def genotypes(draw: st.DrawFn) -> Genotype:
    """Any valid genotype of any space."""
    space = named_space(draw(st.sampled_from(SPACES)))
    cell = cells(space.cell.inputs, space.cell.output == "last")
    return Genotype({kind: draw(cell) for kind in space.kinds}, space.name)


@given(genotypes())
@settings(deadline=None, max_examples=50)
def test_json_text_and_pickle_give_the_same_genotype_back(genotype: Genotype) -> None:
    back = [
        Genotype.from_json(genotype.to_json()),
        Genotype.from_json(json.loads(genotype.to_text())),
        Genotype.from_json(json.loads(json.dumps(genotype.to_json()))),
        pickle.loads(pickle.dumps(genotype)),
        copy.deepcopy(genotype),
    ]
    assert all(each == genotype and hash(each) == hash(genotype) for each in back)
    assert json.loads(genotype.to_text()) == genotype.to_json()
    assert genotype.inputs == (1 if genotype.space == "nasbench201" else 2)


@given(genotypes())
@settings(deadline=None, max_examples=30)
def test_a_file_is_written_and_read_back(
    tmp_path_factory: pytest.TempPathFactory, genotype: Genotype
) -> None:
    path = tmp_path_factory.mktemp("genotype") / "cell.json"
    genotype.save(path)
    assert Genotype.load(path) == genotype
    assert Genotype.load(str(path)) == genotype
    assert [each.name for each in path.parent.iterdir()] == ["cell.json"]


def test_the_written_format_is_version_1_with_a_node_per_line() -> None:
    genotype = Genotype.from_json(plain())
    node = '    [{"op": "sep_conv_3x3", "from": 0}, {"op": "skip_connect", "from": 1}]\n'
    assert genotype.to_text() == (
        '{\n  "version": 1,\n  "space": "darts",\n  "normal": [\n' + node + "  ],\n"
        '  "normal_concat": [2],\n  "reduce": [\n' + node + '  ],\n  "reduce_concat": [2]\n}\n'
    )


def test_version_and_space_default() -> None:
    assert Genotype.from_json(plain(version=1, space="darts")) == Genotype.from_json(plain())


def test_flat_pairs_are_two_per_node_in_order() -> None:
    flat = [["sep_conv_3x3", 0], ["skip_connect", 1], ["max_pool_3x3", 2], ["dil_conv_5x5", 0]]
    read = Genotype.from_json(plain(normal=flat, normal_concat=[2, 3]))
    assert read.cells["normal"].nodes == (
        (Edge("sep_conv_3x3", 0), Edge("skip_connect", 1)),
        (Edge("max_pool_3x3", 2), Edge("dil_conv_5x5", 0)),
    )
    nested = [flat[:2], flat[2:]]
    assert Genotype.from_json(plain(normal=nested, normal_concat=[2, 3])) == read


def test_parallel_edges_inputs_in_the_output_and_empty_nodes_are_legal() -> None:
    twice = [["skip_connect", 0], ["skip_connect", 0]]
    read = Genotype.from_json(plain(normal=[twice, []], normal_concat=[0, 3, 2]))
    cell = read.cells["normal"]
    assert cell.nodes == ((Edge("skip_connect", 0),) * 2, ())
    assert cell.concat == (0, 3, 2)
    assert cell.edges == 2
    assert cell.output(inputs=2) == (0, 2)
    assert read.skips("normal") == 2
    assert read.skips("reduce") == 1


def test_zero_beside_another_edge_is_an_absent_edge() -> None:
    read = Genotype.from_json(plain(normal=[["none", 0], ["skip_connect", 1]]))
    assert read.cells["normal"].nodes == ((Edge("skip_connect", 1),),)


def test_a_node_with_zero_alone_is_there_and_one_without_edges_is_not() -> None:
    skip, zero, dead = (Edge("skip_connect", 0),), (Edge("none", 0), Edge("none", 1)), ()
    cell = Cell((skip, zero, dead, (Edge("none", 0), Edge("skip_connect", 4))), (2, 3, 4, 5))
    read = Genotype({"normal": cell, "reduce": cell})
    assert read.cells["normal"] == cell  # nothing else keeps the last node alive
    assert cell.output(2) == (2, 3, 5)
    assert Genotype.from_json(read.to_json()) == read
    read.check_buildable()
    only = Cell((zero,), (2,))
    with pytest.raises(UserError, match="depends on no input"):
        Genotype({"normal": only, "reduce": cell}).check_buildable()


def test_a_space_with_one_kind_omits_the_reduction_cell() -> None:
    value = {"space": "nasbench201", "normal": [[["nor_conv_3x3", 0]]], "normal_concat": [1]}
    read = Genotype.from_json(value)
    assert list(read.cells) == ["normal"]
    assert "reduce" not in read.to_json()
    assert "'reduce'" in refusal(value | {"reduce": [], "reduce_concat": []})
    assert "must be [1]" in refusal(value | {"normal_concat": [0]})


def test_only_what_depends_on_an_input_is_live() -> None:
    cell = Cell(((), (Edge("sep_conv_3x3", 2),), (Edge("sep_conv_3x3", 0), Edge("noise", 3))), (3,))
    assert cell.live(inputs=2) == {0, 1, 4}
    assert cell.output(inputs=2) == ()
    dead = Genotype({"normal": cell, "reduce": cell})
    with pytest.raises(UserError, match="normal cell depends on no input"):
        dead.check_buildable()
    Genotype.from_json(plain()).check_buildable()


def test_a_description_names_every_edge() -> None:
    text = Genotype.from_json(plain(normal=[[["noise", 0], ["noise", 1]], []])).describe()
    assert "2 = noise(0) + noise(1)" in text
    assert "3 = (no input)" in text
    assert "2 = sep_conv_3x3(0) + skip_connect(1)" in text


def test_cells_cannot_be_changed_afterwards() -> None:
    cells = {kind: Cell(((Edge("skip_connect", 0),),), (2,)) for kind in ("reduce", "normal")}
    genotype = Genotype(cells)
    cells.clear()
    assert list(genotype.cells) == ["normal", "reduce"]
    with pytest.raises(TypeError):
        genotype.cells["normal"] = genotype.cells["reduce"]  # type: ignore[index]  # the point


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 2}, "version 2"),
        ({"version": True}, "version true"),
        ({"version": 1.0}, "version 1.0"),
        ({"version": None}, "version null"),
        ({"space": "dart"}, "'dart'"),
        ({"space": ["darts"]}, "'space'"),
        ({"reduc": []}, "did you mean 'reduce'?"),
        ({"normal": None}, "'normal' must be a list, and is null"),
        ({"normal_concat": 2}, "'normal_concat' must be a list"),
        ({"normal": []}, "between 1 and"),
        ({"normal": [2]}, "node 2: expected a list"),
        ({"normal": [["skip_connect", 0]]}, "two per node"),
        ({"normal": [["skip_connect", 0], [["skip_connect", 1]]]}, "not a list"),
        ({"normal": [[{"op": "skip_connect", "from": 2}]]}, "node 2, which is not before it"),
        ({"normal": [[{"op": "skip_connect", "from": 9}]]}, "use 0 to 1"),
        ({"normal": [[{"op": "skip_connect", "from": -1}]]}, "node -1, which does not exist"),
        ({"normal": [[{"op": "skip_connect", "from": 10**5000}]]}, "a huge number"),
        ({"normal": [[{"op": "skip_connect", "from": True}]]}, "not true"),
        ({"normal": [[{"op": "skip_connect", "from": 0.0}]]}, "not 0.0"),
        ({"normal": [[{"op": "skip_connect", "from": "0"}]]}, "not '0'"),
        ({"normal": [[{"op": "skip_connect", "from": 0, "x": 1}]]}, '{"op": ..., "from": ...}'),
        ({"normal": [[{"op": "sep_conv_33", "from": 0}]]}, "did you mean 'sep_conv_3x3'?"),
        ({"normal": [[{"op": "xyzzy", "from": 0}]]}, "choose avg_pool_3x3,"),
        ({"normal": [[{"op": "\ud800\n" * 99, "from": 0}]]}, "\\ud800\\n"),
        ({"normal": [[{"op": ["skip_connect"], "from": 0}]]}, "not a list"),
        ({"normal": [[{"op": None, "from": 0}]]}, "not null"),
        ({"normal": [[{"op": "none", "from": 5}]]}, "is not before it"),
        ({"normal_concat": []}, "normal_concat is empty"),
        ({"normal_concat": [3]}, "node 3, which does not exist: use 0 to 2"),
        ({"reduce_concat": [-1]}, "reduce_concat names node -1"),
        ({"normal_concat": [2, 2]}, "node 2 twice"),
        ({"normal_concat": [True]}, "not true"),
        ({"normal_concat": [2.0]}, "not 2.0"),
        ({"normal_concat": [[2]]}, "not a list"),
        ({"normal": [[]] * (MAX_NODES + 1)}, "too long"),
        ({"normal": [[["skip_connect", 0]] * 1_000_000]}, f"at most {MAX_EDGES}"),
        ({"normal_concat": [2] * 1_000_000}, "too long"),
    ],
)
def test_a_wrong_genotype_is_refused_by_name(changes: dict[str, Any], said: str) -> None:
    assert said in refusal(plain(**changes))


@pytest.mark.parametrize("field", ["normal", "normal_concat", "reduce", "reduce_concat"])
def test_a_missing_field_is_named(field: str) -> None:
    value = plain()
    del value[field]
    assert f"{field!r} must be a list, and is absent" in refusal(value)


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "x", [], [{}]])
def test_only_an_object_is_a_genotype(value: Any) -> None:
    assert "is a JSON object" in refusal(value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"normal":' * 100_000, "nested too deeply"),
        (b'{"version": ' + b"9" * 10_000 + b"}", "cannot be read"),
        (b"Genotype(normal=[('skip_connect', 0)])", "'normal_concat' must be a list"),
    ],
)
def test_a_file_that_is_no_genotype_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "cell.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        Genotype.load(path)
    assert "cell.json" in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(UserError, match="expected a genotype"):
            Genotype.load(path)
    with pytest.raises(UserError, match="cannot write the genotype"):
        Genotype.from_json(plain()).save(tmp_path / "absent" / "cell.json")


def test_a_cell_with_all_parallel_edges_at_the_limit_is_read() -> None:
    full = [[["skip_connect", 0]] * MAX_EDGES]
    assert Genotype.from_json(plain(normal=full)).cells["normal"].edges == MAX_EDGES
    cell = Cell(((Edge("skip_connect", 0),) * (MAX_EDGES + 1),), (2,))
    with pytest.raises(UserError, match="at most"):
        Genotype({"normal": cell, "reduce": cell})


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["op", "from", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)
FIELDS = ("version", "space", "normal", "normal_concat", "reduce", "reduce_concat", "x")


@given(st.dictionaries(st.sampled_from(FIELDS), JSON_VALUES), st.booleans())
@settings(deadline=None, max_examples=80)
def test_any_json_is_a_genotype_or_one_line(changes: dict[str, Any], whole: bool) -> None:
    value = plain(**changes) if whole else changes
    line = ""
    try:
        read = Genotype.from_json(value)
        assert Genotype.from_json(read.to_json()) == read
    except UserError as error:
        line = str(error)
    assert len(line.splitlines()) <= 1


@given(genotypes(), st.data())
@settings(deadline=None, max_examples=50)
def test_one_damaged_edge_is_always_noticed(genotype: Genotype, data: st.DataObject) -> None:
    value = genotype.to_json()
    kind = data.draw(st.sampled_from(list(genotype.cells)))
    position = data.draw(st.integers(0, len(value[kind]) - 1))
    target = genotype.inputs + position
    damage = data.draw(
        st.sampled_from([{"from": target}, {"from": target + 1}, {"from": -1}, {"op": "conv"}])
    )
    value[kind][position].insert(0, {"op": "skip_connect", "from": 0} | damage)
    with pytest.raises(UserError, match=f"{kind} cell, node {target}"):
        Genotype.from_json(value)


def test_kinds_that_do_not_fit_the_space_are_named() -> None:
    cell = Cell(((Edge("skip_connect", 0),),), (2,))
    with pytest.raises(UserError, match="no 'reduce' cell"):
        Genotype({"normal": cell})
    with pytest.raises(UserError, match="no 'middle' cell"):
        Genotype({"normal": cell, "reduce": cell, "middle": cell})
