"""The zoo as a table: what was printed of each cell beside what we count, and why they differ.

What other counts include is inferred from the numbers: the remarks say what agrees, and say
so where nothing was found that does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from dots.zoo import ZooEntry, entries
from dots.zoo.counts import Count, counts

_WITH_ALL = (
    "With batch norms (2 an element) and ReLUs (1 an element), which tools such as thop count, "
    "the multiply-adds are the printed ones:"
)
_WITH_NORMS = (
    "With batch norms (2 an element), which tools such as thop count, the multiply-adds are the "
    "printed ones:"
)
_STEM = (
    "Without the stem's first convolution (8.1 M) and the classifier (0.8 M), and cut to whole "
    "millions, the multiply-adds are the printed ones."
)
_AUXILIARY = "With the auxiliary head the parameters are the printed ones: {with_head} M."
_RUNS = "The printed parameters are presumably a mean over runs; this is one run's cell."
_SNAS = (
    "No width gives both printed figures. 4.3 M parameters are those of the moderate cell "
    "with 48 channels (4.313 M, 465.6 M multiply-adds)."
)

REMARKS: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("DOTS_C10", "imagenet"): (
            "No width gives the printed pair. The paper says 46 channels (4.652 M, 510.3 M); "
            "48 give 5.023 M and 554.0 M, 50 give 5.409 M and 599.5 M."
        ),
        ("DOTS_ImageNet", "imagenet"): (
            "The paper's text says 46 channels (4.954 M, 541.5 M; preset paper-imagenet), 48"
            f" (paper-imagenet-48) have the printed parameters. {_WITH_NORMS} 596.2 M."
        ),
        ("DARTS_V2", "imagenet"): (
            "48 channels have the printed parameters; the printed multiply-adds would be those of "
            "50 (573.5 M, 5.079 M parameters)."
        ),
        ("SNAS_mild", "imagenet"): _SNAS,
        ("P_DARTS", "cifar100"): (
            "3.6 M is the cell that was searched on CIFAR-100, which is not in the zoo."
        ),
        ("P_DARTS", "imagenet"): f"{_WITH_ALL} 557.1 M.",
        ("PC_DARTS_C10", "imagenet"): f"{_WITH_ALL} 585.9 M.",
        ("SDARTS_ADV", "imagenet"): (
            "No width gives the printed pair: 50 channels give 5.131 M and 574.9 M, 52 give "
            "5.507 M and 619.9 M. Presumably another run's cell."
        ),
        ("DARTS_minus_C10_s0_1", "cifar10"): _RUNS,
        ("DARTS_minus_C100_s0_2", "cifar100"): _RUNS,
        ("DropNAS_C10", "cifar10"): _RUNS,
        ("DropNAS_C10", "imagenet"): (
            "46 channels give 5.032 M and 550.2 M, 48 give 5.433 M and 597.0 M: the printed pair "
            "lies between. Presumably another run's cell."
        ),
        ("ASAP", "imagenet"): f"{_WITH_NORMS} 427.5 M.",
        ("FairDARTS_a", "cifar10"): (
            f"{_AUXILIARY.format(with_head='2.837')} For its 373 M multiply-adds, 1.5 M more than "
            "counted, no explanation was found."
        ),
        ("FairDARTS_a", "cifar100"): _AUXILIARY.format(with_head="2.945"),
        ("FairDARTS_b", "cifar10"): _AUXILIARY.format(with_head="3.884"),
        ("FairDARTS_d", "cifar10"): _AUXILIARY.format(with_head="3.842"),
        ("FairDARTS_f", "cifar10"): _AUXILIARY.format(with_head="3.627"),
        ("FairDARTS_g", "cifar10"): _AUXILIARY.format(with_head="3.375"),
        ("SGAS_Cri1_CIFAR_2", "imagenet"): _STEM,
        ("SGAS_Cri1_CIFAR_3", "imagenet"): _STEM,
        ("SGAS_Cri2_CIFAR_4", "imagenet"): _STEM,
        ("SGAS_Cri2_CIFAR_5", "imagenet"): _STEM,
        ("NASNet_A_tf", "cifar100"): (
            "The table repeats the figure for 10 classes; 100 classes add 0.07 M."
        ),
        ("AmoebaNet_C_tf", "imagenet"): (
            "The parameters agree; for the printed 570 M multiply-adds no explanation was found."
        ),
        ("ENAS_micro", "cifar10"): (
            "This is the cell of the release's script, which is not the one of the paper's figure. "
            "With its auxiliary head it has about 4.4 M parameters."
        ),
        ("ENAS_micro", "cifar100"): "As on CIFAR-10; the table repeats the figure for 10 classes.",
    }
)


def remark(name: str, data: str) -> str:
    """Why the printed figures of the cell `name` on `data` differ from ours, or nothing."""
    return REMARKS.get((name, data), "")


_PRINTED = {
    "cifar10": ("cifar_params_M", "cifar_madds_M"),
    "cifar100": ("cifar100_params_M", "cifar100_madds_M"),
    "imagenet": ("imagenet_params_M", "imagenet_madds_M"),
}


@dataclass(frozen=True)
class ZooRow:
    """A published cell on one data set.

    `printed_parameters` and `printed_multiply_adds` are in millions, as printed first (the
    paper's tables, else the repository), or None. `count.size` says with which skeleton,
    cells and channels we count. `remark` says why the two differ, where they do.
    """

    entry: ZooEntry
    data: str
    printed_parameters: float | None
    printed_multiply_adds: float | None
    count: Count
    remark: str


def zoo_rows() -> tuple[ZooRow, ...]:
    """All cells: a row for each data set with printed parameters; CIFAR-10 where there are none."""
    rows: list[ZooRow] = []
    for entry in entries():
        counted = counts(entry.name)
        found = [_row(entry, data, count) for data, count in counted.items()]
        printed = [row for row in found if row.printed_parameters is not None]
        rows += printed or found[:1]
    return tuple(rows)


def _row(entry: ZooEntry, data: str, count: Count) -> ZooRow:
    parameters, multiply_adds = _PRINTED[data]
    return ZooRow(
        entry=entry,
        data=data,
        printed_parameters=entry.figure(parameters),
        printed_multiply_adds=entry.figure(multiply_adds),
        count=count,
        remark=remark(entry.name, data),
    )
