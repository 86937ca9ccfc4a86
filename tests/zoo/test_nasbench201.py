"""NAS-Bench-201: notation both ways for every cell, and the table of truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from dots.common.errors import UserError
from dots.space.genotype import Cell, Edge, Genotype
from dots.zoo.nasbench201 import Table, all_strings, from_string, to_string
from helpers.shared_data import shared_data

EXAMPLE = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"
ALL_SKIP = "|skip_connect~0|+|skip_connect~0|skip_connect~1|" + (
    "+|skip_connect~0|skip_connect~1|skip_connect~2|"
)


@pytest.fixture(scope="module")
def table() -> Table:
    return Table.load(shared_data("nasbench201.parquet"))


def write(path: Path, **columns: object) -> Path:
    """A parquet file with these columns."""
    pq.write_table(pa.table(columns), path)
    return path


def test_a_string_written_by_hand_is_the_cell_it_says() -> None:
    genotype = from_string(EXAMPLE)
    assert genotype.space == "nasbench201"
    assert genotype.cells["normal"] == Cell(
        (
            (Edge("nor_conv_3x3", 0),),
            (Edge("skip_connect", 1),),
            (Edge("avg_pool_3x3", 0), Edge("nor_conv_1x1", 2)),
        ),
        (3,),
    )


def test_all_15625_cells_convert_both_ways() -> None:
    strings = all_strings()
    assert len(strings) == len(set(strings)) == 5**6
    genotypes = [from_string(text) for text in strings]
    assert [to_string(genotype) for genotype in genotypes] == strings
    assert len(set(genotypes)) == 5**6


def test_the_order_of_edges_does_not_matter() -> None:
    edges = (Edge("nor_conv_1x1", 2), Edge("avg_pool_3x3", 0))
    nodes = (*from_string(EXAMPLE).cells["normal"].nodes[:2], edges)
    assert to_string(Genotype({"normal": Cell(nodes, (3,))}, "nasbench201")) == EXAMPLE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "|nor_conv_3x3~0|",
        EXAMPLE + "+|none~0|none~1|none~2|none~3|",
        EXAMPLE.replace("~1", "~2"),
        EXAMPLE.replace("~0", "~"),
        EXAMPLE.replace("none", "sep_conv_3x3"),
        EXAMPLE.replace("|nor_conv_3x3~0|", "nor_conv_3x3~0"),
        EXAMPLE.replace("|nor_conv_3x3~0|", "||nor_conv_3x3~0|"),
        EXAMPLE.replace("|nor_conv_3x3~0|", "|nor_conv_3x3~0|nor_conv_3x3~0|"),
        EXAMPLE.replace("~0", "~²"),
        "|" * 100_000,
    ],
)
def test_what_is_not_in_the_notation_is_refused(text: str) -> None:
    with pytest.raises(UserError) as caught:
        from_string(text)
    assert len(str(caught.value)) < 300
    assert len(str(caught.value).splitlines()) == 1


@given(st.text(alphabet="|~+012none", max_size=40) | st.text())
@settings(deadline=None)
def test_no_text_raises_anything_else(text: str) -> None:
    with pytest.raises(UserError):
        from_string(text)


def test_cells_of_other_spaces_are_refused() -> None:
    darts = Cell(((Edge("skip_connect", 0),),), (2,))
    with pytest.raises(UserError, match="'darts'"):
        to_string(Genotype({"normal": darts, "reduce": darts}))
    skip = (Edge("skip_connect", 0),)
    refused = {
        "has 3 nodes": ((skip,), (1,)),
        "no operation 'sep_conv_3x3'": ((skip, skip, (Edge("sep_conv_3x3", 0),)), (3,)),
        "one edge from node 0 to node 2": ((skip, skip * 2, skip), (3,)),
    }
    for said, (nodes, concat) in refused.items():
        with pytest.raises(UserError, match=said):
            to_string(Genotype({"normal": Cell(nodes, concat)}, "nasbench201"))


def test_the_table_holds_the_published_accuracies(table: Table) -> None:
    assert len(table) == 15_625
    assert table.columns == ("cifar10_test", "cifar100_test", "imagenet16_120_test")
    assert round(table.look_up(from_string(ALL_SKIP))["cifar10_test"].accuracy, 2) == 54.30
    best = table.look_up(table.best("cifar10_test"))["cifar10_test"]
    assert round(best.accuracy, 2) == 94.37
    assert (best.rank, best.percentile) == (1, 100.0)
    assert table.mean("cifar10_test") == pytest.approx(table.accuracies("cifar10_test").mean())
    assert table.mean("cifar10_test") < best.accuracy


def test_ranks_agree_with_scipy(table: Table) -> None:
    strings = pq.read_table(shared_data("nasbench201.parquet")).column("arch").to_pylist()
    for column in table.columns:
        ranks = rankdata(-table.accuracies(column), method="min")
        for row in range(0, len(strings), 97):
            standing = table.look_up(from_string(strings[row]))[column]
            assert standing.rank == ranks[row]
            assert standing.accuracy == table.accuracies(column)[row]


def test_equal_cells_share_the_better_rank(tmp_path: Path) -> None:
    cells = all_strings()[:4]
    path = write(tmp_path / "t.parquet", arch=cells, mine=[50.0, 90.0, 90.0, 10.0])
    small = Table.load(path)
    standings = [small.look_up(from_string(cell))["mine"] for cell in cells]
    assert [each.rank for each in standings] == [3, 1, 1, 4]
    assert [each.percentile for each in standings] == [50.0, 100.0, 100.0, 25.0]
    assert small.truth(from_string(cells[0])) == {
        "mine": {"accuracy": 50.0, "rank": 3, "percentile": 50.0}
    }
    assert to_string(small.best("mine")) == cells[1]
    assert small.mean("mine") == 60.0
    with pytest.raises(UserError, match="no cell"):
        small.look_up(from_string(ALL_SKIP))
    with pytest.raises(UserError, match="did you mean 'mine'"):
        small.best("min")


CELL = all_strings()[0]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path, "no file"),
        (lambda path: path.parent, "no file"),
        (lambda path: (path.write_text("arch,x\n"), path)[1], "cannot read .* as parquet"),
        (lambda path: write(path, cell=[CELL], x=[1.0]), "it needs 'arch'"),
        (lambda path: write(path, arch=[CELL]), "columns of accuracies"),
        (lambda path: write(path, arch=[CELL], x=["1"]), "columns of accuracies"),
        (lambda path: write(path, arch=[CELL], x=[float("nan")]), "'x' has missing"),
        (lambda path: write(path, arch=[CELL] * 2, x=[1.0, None]), "twice"),
        (lambda path: write(path, arch=[CELL], x=pa.array([None], pa.float64())), "'x' has miss"),
        (lambda path: write(path, arch=["|x~0|"], x=[1.0]), "no NAS-Bench-201 cell"),
        (lambda path: write(path, arch=[None], x=[1.0]), "null in 'arch'"),
        (lambda path: write(path, arch=[[CELL]], x=[1.0]), "a list in 'arch'"),
        (
            lambda path: write(path, arch=pa.array([], pa.string()), x=pa.array([], pa.float64())),
            "no rows",
        ),
    ],
)
def test_a_wrong_table_is_refused(make: Callable[[Path], Path], said: str, tmp_path: Path) -> None:
    path = make(tmp_path / "table.parquet")
    with pytest.raises(UserError, match=said) as caught:
        Table.load(path)
    assert len(str(caught.value).splitlines()) == 1
