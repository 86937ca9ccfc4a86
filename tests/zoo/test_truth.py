"""What result.json says of true accuracies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dots.common.errors import UserError
from dots.space.genotype import Cell, Edge, Genotype
from dots.space.search_space import darts_space, nasbench201_space
from dots.zoo.nasbench201 import Table, Truth, from_string
from helpers.shared_data import shared_data

CELLS = (
    "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|",
    "|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|",
    "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|",
    "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
)


def small_table() -> Table:
    return Table(CELLS, {"one": np.array([40.0, 80.0, 90.0, 10.0]), "two": np.arange(4.0)})


def test_the_cell_the_best_and_the_average_stand_beside_each_other() -> None:
    said = Truth(small_table()).describe({"truth": from_string(CELLS[1])}).to_json()
    assert said["truth"]["one"] == {"accuracy": 80.0, "rank": 2, "percentile": 75.0}
    assert said["truth_best"]["one"]["cell"] == CELLS[2]
    assert said["truth_best"]["two"] == {
        "accuracy": 3.0, "rank": 1, "percentile": 100.0, "cell": CELLS[3],
    }  # fmt: skip
    assert said["truth_random"]["one"] == {"accuracy": 55.0, "percentile": 50.0}


def test_a_cell_that_the_benchmark_does_not_have_is_null() -> None:
    twice = (Edge("skip_connect", 0), Edge("nor_conv_1x1", 0))
    cell = Genotype({"normal": Cell((twice, (), ()), (3,))}, "nasbench201")
    assert Truth(small_table()).describe({"truth": cell}).truth is None


def test_another_space_has_no_table(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'nasbench201' alone, not for 'darts'.*--table"):
        Truth.load(tmp_path / "absent.parquet", darts_space())
    with pytest.raises(UserError, match="no file"):
        Truth.load(tmp_path / "absent.parquet", nasbench201_space())


def test_the_real_table_knows_the_published_best_and_the_collapsed_cell() -> None:
    truth = Truth.load(shared_data("nasbench201.parquet"), nasbench201_space())
    skips = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+"
    skips += "|skip_connect~0|skip_connect~1|skip_connect~2|"
    said = truth.describe({"truth": from_string(skips)}).to_json()
    assert said["truth"]["cifar10_test"]["accuracy"] == pytest.approx(54.30, abs=0.01)
    assert said["truth_best"]["cifar10_test"]["accuracy"] == pytest.approx(94.37, abs=0.01)
