"""dots zoo: published cells, and the tables of the paper."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dots.cli import options as o
from dots.cli.tables import Remarks, millions, print_table, printed

if TYPE_CHECKING:
    from rich.table import Table

    from dots.space.genotype import Genotype
    from dots.zoo.counts import Count
    from dots.zoo.paper import CifarRow, ImageNetRow
    from dots.zoo.table import ZooRow

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

zoo = typer.Typer(help="Published cells.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(zoo, name="zoo")


@zoo.command("list")
def zoo_list(as_json: AsJson = False, debug: o.Debug = False) -> None:
    """All published cells: source, printed figures and our counts side by side."""
    from dots.zoo.table import zoo_rows

    rows = zoo_rows()
    if as_json:
        print(json.dumps([_row_json(row) for row in rows], indent=2))
        return
    from rich.table import Table

    remarks = Remarks()
    table = Table(title="Published cells, in millions: as printed, and as counted here")
    for heading in ("cell", "paper", "data", "network"):
        table.add_column(heading)
    for heading in ("parameters", "counted", "multiply-adds", "counted", "remark"):
        table.add_column(heading, justify="right")
    before = ""
    for row in rows:
        new = row.entry.name != before
        before = row.entry.name
        table.add_row(
            row.entry.name if new else "",
            row.entry.paper if new else "",
            row.data,
            _network(row.count),
            printed(row.printed_parameters),
            millions(row.count.parameters),
            printed(row.printed_multiply_adds),
            millions(row.count.multiply_adds, 1),
            remarks.mark([row.remark] if row.remark else []),
        )
    print_table(table, remarks)


def _network(count: Count) -> str:
    """The skeleton, the cells and the channels that were counted."""
    size = count.size
    return "" if size is None else f"{size.skeleton} {size.cells} x {size.channels}"


def _count_json(count: Count | None) -> dict[str, Any] | None:
    if count is None:
        return None
    value: dict[str, Any] = {
        "parameters": count.parameters,
        "multiply_adds": count.multiply_adds,
    }
    if count.size is not None:
        value |= {
            "skeleton": count.size.skeleton,
            "cells": count.size.cells,
            "channels": count.size.channels,
        }
    return value


def _row_json(row: ZooRow) -> dict[str, Any]:
    return {
        **row.entry.to_json(),
        "data": row.data,
        "printed_parameters_M": row.printed_parameters,
        "printed_multiply_adds_M": row.printed_multiply_adds,
        "counted": _count_json(row.count),
        "remark": row.remark,
    }


@zoo.command("show")
def zoo_show(
    name: Annotated[str, typer.Argument(help="A name of the zoo, a genotype file or a run.")],
    as_json: AsJson = False,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="Print it as another program reads it: darts, nasbench201, naslib, nni, "
            "confopt, dot (Graphviz), or dots, as --json.",
        ),
    ] = None,
    debug: o.Debug = False,
) -> None:
    """One cell; with --json its genotype, ready for `dots train`."""
    from dots import zoo as published

    entry = published.find(name)
    genotype = entry.genotype if entry is not None else published.resolve(name)
    if as_json or form is not None:
        print(_written(genotype, form or "dots"))
        return
    if entry is not None:
        print(f"{entry.name}: {entry.paper}, searched on {entry.searched_on}")
    print(genotype.describe())
    if entry is not None and entry.notes:
        print(entry.notes)


def _written(genotype: Genotype, form: str) -> str:
    """The text of a genotype in a format. Raises UserError for an unknown one, or an unfit cell."""
    from dots.common.errors import UserError, did_you_mean
    from dots.space.drawing.dot import genotype_dot
    from dots.space.formats import WRITERS

    writers = {**WRITERS, "dot": genotype_dot}
    if form not in writers:
        raise UserError(f"unknown format {form!r}: {did_you_mean(form, writers)}")
    return writers[form](genotype).rstrip("\n")


@zoo.command("table")
def zoo_table(
    number: Annotated[int, typer.Argument(help="1 (CIFAR) or 3 (ImageNet).", metavar="NUMBER")],
    as_json: AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Table 1 or 3 of the paper, with our own counts beside the printed figures."""
    from dots.zoo.paper import ImageNetRow, paper_table

    rows = paper_table(number)
    if as_json:
        print(json.dumps([_paper_json(row) for row in rows], indent=2, ensure_ascii=False))
        return
    remarks = Remarks()
    imagenet = [row for row in rows if isinstance(row, ImageNetRow)]
    cifar = [row for row in rows if not isinstance(row, ImageNetRow)]
    print_table(_imagenet(imagenet, remarks) if imagenet else _cifar(cifar, remarks), remarks)
    if cifar:
        print("† as reported by Chu et al.   * over four runs")


def _columns(title: str, *numbers: str) -> Table:
    from rich.table import Table

    table = Table(title=title)
    table.add_column("architecture")
    for heading in (*numbers, "GPU days"):
        table.add_column(heading, justify="right")
    table.add_column("method")
    table.add_column("remark", justify="right")
    return table


def _cifar(rows: list[CifarRow], remarks: Remarks) -> Table:
    table = _columns(
        "Table 1: CIFAR; accuracies in %, parameters in millions",
        "CIFAR-10", "parameters", "counted", "CIFAR-100", "parameters", "counted",
    )  # fmt: skip
    for row in rows:
        ten, hundred = row.counted10, row.counted100
        table.add_row(
            row.architecture,
            row.accuracy10,
            printed(row.parameters10),
            millions(ten.parameters if ten else None),
            row.accuracy100,
            printed(row.parameters100),
            millions(hundred.parameters if hundred else None),
            row.gpu_days,
            row.method,
            remarks.mark(row.remarks),
        )
    return table


def _imagenet(rows: list[ImageNetRow], remarks: Remarks) -> Table:
    table = _columns(
        "Table 3: ImageNet; accuracies in %, parameters and multiply-adds in millions",
        "top-1", "top-5", "parameters", "counted", "multiply-adds", "counted",
    )  # fmt: skip
    for row in rows:
        count = row.counted
        table.add_row(
            row.architecture,
            f"{row.top1:.1f}",
            f"{row.top5:.1f}",
            printed(row.parameters),
            millions(count.parameters if count else None),
            printed(row.multiply_adds),
            millions(count.multiply_adds if count else None, 1),
            row.gpu_days,
            row.method,
            remarks.mark(row.remarks),
        )
    return table


def _paper_json(row: CifarRow | ImageNetRow) -> dict[str, Any]:
    """A row as JSON values: every figure as printed, and the counts."""
    from dataclasses import asdict

    value = asdict(row)
    for name in ("counted", "counted10", "counted100"):
        if hasattr(row, name):
            value[name] = _count_json(getattr(row, name))
    value["remarks"] = list(row.remarks)
    return value
