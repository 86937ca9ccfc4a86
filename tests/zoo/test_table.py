"""Printed figures beside counted ones: the counts are ours, and every difference is explained."""

from __future__ import annotations

import pytest
from scripts.recount_zoo import recount_cell, recount_reference

from dots import zoo
from dots.common.errors import UserError
from dots.networks.body import Shape
from dots.networks.count import Cost, network_cost
from dots.networks.reference import REFERENCES
from dots.zoo.counts import counts, reference_counts
from dots.zoo.paper import TABLE_1, TABLE_3, Source, paper_table
from dots.zoo.sizes import published_sizes
from dots.zoo.table import REMARKS, remark, zoo_rows


def agrees(printed: float, counted: int) -> bool:
    """Whether a count is the printed number of millions, rounded or cut."""
    decimals = len(str(printed).partition(".")[2]) if printed != int(printed) else 0
    if printed < 100:  # parameters: at least one decimal is printed
        decimals = max(decimals, 1)
    return bool(abs(counted / 1e6 - printed) < 10**-decimals - 1e-9)


def stored(name: str) -> dict[str, tuple[int, int]]:
    return {data: (c.parameters, c.multiply_adds) for data, c in counts(name).items()}


def test_stored_counts_are_what_we_count() -> None:
    assert stored("ENAS_micro") == recount_cell("ENAS_micro")


@pytest.mark.slow
def test_all_stored_counts_are_what_we_count() -> None:
    assert {name: stored(name) for name in zoo.names()} == {
        name: recount_cell(name) for name in zoo.names()
    }
    for name in REFERENCES:
        found = reference_counts(name).items()
        assert {d: (c.parameters, c.multiply_adds) for d, c in found} == recount_reference(name)


def test_the_published_figures_to_the_last_digit() -> None:
    shape = Shape(20, 36, 3, 10)
    cost = network_cost(zoo.load("DOTS_C10").genotype, shape, 32)
    stored = counts("DOTS_C10")["cifar10"]
    assert cost.parameters == stored.parameters == 3_526_030
    assert cost.multiply_adds == stored.multiply_adds
    shape = Shape(14, 50, 3, 1000, stem="imagenet")
    cost = network_cost(zoo.load("GDAS_V1").genotype, shape, 224)
    assert cost == Cost(5_345_075, 581_009_000)
    gdas = counts("GDAS_V1")["imagenet"]
    assert (gdas.parameters, gdas.multiply_adds) == (5_345_075, 581_009_000)
    assert gdas.size is not None
    assert (gdas.size.cells, gdas.size.channels, gdas.size.image_size) == (14, 50, 224)


@pytest.mark.parametrize("name", zoo.names())
def test_a_remark_stands_exactly_where_a_figure_differs(name: str) -> None:
    keys = {
        "cifar10": ("cifar_params_M", "cifar_madds_M"),
        "cifar100": ("cifar100_params_M", "cifar100_madds_M"),
        "imagenet": ("imagenet_params_M", "imagenet_madds_M"),
    }
    places = zoo.load(name).printed.values()
    for data, count in counts(name).items():
        ours = dict(zip(keys[data], (count.parameters, count.multiply_adds), strict=True))
        differs = any(
            not agrees(figures[key], number)
            for figures in places
            for key, number in ours.items()
            if key in figures
        )
        assert differs == bool(remark(name, data)), (name, data)
    assert all(key[1] in keys for key in REMARKS)


@pytest.mark.parametrize(
    ("printed", "counted", "same"),
    [
        (3.5, 3_526_030, True),
        (3.4, 3_349_342, True),  # rounded up, where 3.3 is cut
        (3.3, 3_349_342, True),
        (3.88, 3_407_878, False),
        (581, 581_009_000, True),
        (581, 582_000_001, False),
        (4.0, 3_960_190, True),
        (4.0, 4_100_000, False),
    ],
)
def test_agreement_is_to_the_printed_digits(printed: float, counted: int, same: bool) -> None:
    assert agrees(printed, counted) is same


def test_every_cell_has_a_row_and_every_printed_figure_is_in_one() -> None:
    rows = zoo_rows()
    assert {row.entry.name for row in rows} == set(zoo.names())
    for row in rows:
        assert row.count.size in published_sizes(row.entry.name)
    nasnet = [row for row in rows if row.entry.name == "NASNet_A_tf"]
    assert [(row.data, row.printed_parameters, row.printed_multiply_adds) for row in nasnet] == [
        ("cifar10", 3.3, None),
        ("cifar100", 3.3, None),
        ("imagenet", 5.3, 564),
    ]
    assert [row.data for row in rows if row.entry.name == "SETN"] == ["cifar10"]


def test_the_tables_print_what_the_zoo_says_they_print() -> None:
    place = "DOTS Tables 1 and 3"
    for row in TABLE_1:
        for source, key, printed in (
            (row.cifar10, "cifar_params_M", row.parameters10),
            (row.cifar100, "cifar100_params_M", row.parameters100),
        ):
            if source.cell and printed is not None:
                assert zoo.load(source.cell).printed[place][key] == printed
    for line in TABLE_3:
        if line.source.cell:
            figures = zoo.load(line.source.cell).printed[place]
            assert figures["imagenet_params_M"] == line.parameters
            assert figures["imagenet_madds_M"] == line.multiply_adds


def test_every_row_is_counted_or_says_why_not() -> None:
    for row in TABLE_1:
        assert row.counted10 or row.remarks
        assert row.counted100 or row.parameters100 is None or row.remarks
    for line in TABLE_3:
        assert line.counted or line.remarks
        if line.counted and not agrees(line.multiply_adds, line.counted.multiply_adds):
            assert line.remarks
    assert len(paper_table(1)) == 19
    assert len(paper_table(3)) == 22
    with pytest.raises(UserError, match="no table 2"):
        paper_table(2)


def test_a_source_counts_nothing_that_is_not_known() -> None:
    assert Source().count("cifar10") is None
    assert Source(cell="ENAS_micro").count("imagenet") is None


def test_default_sizes_are_the_evaluation_settings_of_the_paper() -> None:
    cifar, _, imagenet = published_sizes("DARTS_V2")
    assert (cifar.cells, cifar.channels) == (20, 36)
    shape = Shape(imagenet.cells, imagenet.channels, 3, imagenet.classes, stem="imagenet")
    assert (shape.cells, shape.channels, shape.classes) == (14, 48, 1000)
