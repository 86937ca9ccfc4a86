"""A table of image files and their labels: CSV, or parquet that holds names and no images."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from dots.common.errors import UserError, in_one_line
from dots.data.sources.folder import SYNONYMS
from dots.data.sources.parquet import IMAGE_COLUMNS, NAME_COLUMNS
from dots.data.sources.records import FileRecords
from dots.data.sources.source import Part, Source, make_source, shortlist
from dots.recipe.settings import DataSettings


@dataclass(frozen=True)
class Columns:
    """Names of columns, None where the reader finds them, and the folder of the files named."""

    label: str | None = None
    file: str | None = None
    split: str | None = None
    group: str | None = None
    images: str | None = None

    @classmethod
    def of(cls, settings: DataSettings) -> Columns:
        """Those that the settings of [data] name."""
        return cls(settings.label, settings.file, settings.split, settings.group, settings.images)

    @property
    def given(self) -> dict[str, str]:
        """What is not left to the reader, by the name of its setting."""
        return {name: value for name, value in asdict(self).items() if value is not None}


FILES = (*NAME_COLUMNS, *IMAGE_COLUMNS)
LABELS = ("label", "labels", "class", "class_name", "category", "fine_label")
SPLITS = ("split", "subset")
GROUPS = ("group", "group_id")
TEXT_TABLES = (".csv", ".tsv")

Table = Mapping[str, Sequence[str]]
"""Columns by name; every cell is text, an empty one ""."""


@dataclass(frozen=True)
class _Rows:
    """The rows of a table: file, label, and split and group where there are such columns."""

    files: list[str]
    labels: list[str]
    splits: list[str] | None
    groups: list[str] | None

    def keep(self, rows: Sequence[int]) -> _Rows:
        def some(column: list[str]) -> list[str]:
            return [column[row] for row in rows]

        splits, groups = (None if c is None else some(c) for c in (self.splits, self.groups))
        return _Rows(some(self.files), some(self.labels), splits, groups)


def read_table(path: Path, columns: Columns, *, skip_corrupt: bool = False) -> Source:
    """Read the table; no image is decoded.

    Files are looked for in `columns.images`, else in the table's own folder. A column `split`
    says train, val or test (or synonyms); images of one `group` are kept on one side of every
    split. An empty label means none: the image is left out.

    Raises UserError for a column that is not there, a file that is missing (left out with a
    notice where `skip_corrupt`) or named twice, and a group on both sides of the given split.
    """
    table = _parquet(path) if path.suffix.lower() == ".parquet" else _text(path)
    where, said = repr(str(path)), []
    taken = {
        name: _column(where, table, wanted, known, name)
        for name, wanted, known in (
            ("file", columns.file, FILES),
            ("label", columns.label, LABELS),
            ("split", columns.split, SPLITS),
            ("group", columns.group, GROUPS),
        )
    }
    found = {name: column for name, column in taken.items() if column is not None}
    said.append("columns: " + ", ".join(f"{name} from {found[name]!r}" for name in found))
    values = {name: list(table[column]) for name, column in found.items()}
    rows = _Rows(values["file"], values["label"], values.get("split"), values.get("group"))
    folder = path.parent if columns.images is None else Path(columns.images).expanduser()
    rows = _present(where, rows, folder, said, skip_corrupt)
    parts = _parts(where, rows, folder)
    groups = None
    if rows.groups is not None:
        _check_groups(where, rows)
        files = [str(folder / file) for file in rows.files]
        groups = dict(zip(files, rows.groups, strict=True))
        said.append(f"{len(set(rows.groups))} groups, each on one side of every split")
    source = make_source(path.stem or "images", parts, flip=True, notices=said)
    return replace(source, groups=groups)


def _text(path: Path) -> Table:
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{str(path)!r} is no text in UTF-8: save it as CSV (UTF-8)") from None
    lines = content.splitlines()
    if not lines:
        raise UserError(f"{str(path)!r} is empty: expected a line of column names, then rows")
    delimiter = max(",;\t", key=lines[0].count)
    try:
        names, *rows = csv.reader(lines, delimiter=delimiter, strict=True)
    except csv.Error as error:
        raise UserError(f"{str(path)!r} is no CSV: {error}") from None
    names = [name.strip() for name in names]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"{str(path)!r} has two columns {twice[0]!r}: rename one")
    full = [(line, row) for line, row in enumerate(rows, 2) if row]
    for line, row in full:
        if len(row) != len(names):
            raise UserError(
                f"{str(path)!r}, line {line}: {len(row)} cells, but {len(names)} columns"
            )
    return {name: [row[i].strip() for _, row in full] for i, name in enumerate(names)}


def _parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"cannot read {str(path)!r} as parquet: {in_one_line(error)}") from None
    return {
        name: ["" if value is None else str(value) for value in table[name].to_pylist()]
        for name in table.column_names
    }


def _column(
    where: str, table: Table, wanted: str | None, known: Sequence[str], name: str
) -> str | None:
    """The column that is named, else the first known one; None where a table may lack it."""
    if wanted is not None and wanted not in table:
        raise UserError(f"{where} has no column {wanted!r}; it has {', '.join(table)}")
    lower = {column.lower(): column for column in reversed(list(table))}
    found = wanted or next((lower[one] for one in known if one in lower), None)
    if found is None and name in ("file", "label"):
        raise UserError(
            f"{where} has no column that is known to hold the {name}s; it has "
            f"{', '.join(table)}: name it by --set data.{name}=COLUMN"
        )
    return found


def _present(where: str, rows: _Rows, folder: Path, said: list[str], skip_corrupt: bool) -> _Rows:
    if not folder.is_dir():
        raise UserError(f"there is no folder {str(folder)!r} for the images of {where}")
    seen: set[str] = set()
    for file in rows.files:
        if file in seen:
            raise UserError(f"{where} names {file!r} twice: remove one of the rows")
        seen.add(file)
    missing = [file for file in rows.files if not file or not (folder / file).is_file()]
    if not missing:
        return rows
    text = f"{len(missing)} images of {where} are not in {str(folder)!r}: {shortlist(missing)}"
    if not skip_corrupt:
        raise UserError(
            f"{text}: give their folder by --images, or leave them out (--skip-corrupt)"
        )
    said.append(f"left out: {text}")
    gone = set(missing)
    return rows.keep([row for row, file in enumerate(rows.files) if file not in gone])


def _parts(where: str, rows: _Rows, folder: Path) -> dict[str, Part]:
    names = sorted({label for label in rows.labels if label}, key=_natural)
    index = {name: label for label, name in enumerate(names)} | {"": -1}
    if not names:
        raise UserError(f"{where} gives no image a label")
    by_part: dict[str, list[int]] = {}
    for row in range(len(rows.files)):
        word = "train" if rows.splits is None else rows.splits[row].lower()
        part = SYNONYMS.get(word)
        if part is None:
            raise UserError(
                f"{where}: the split of {rows.files[row]!r} is {word!r}: write train, val or test"
            )
        by_part.setdefault(part, []).append(row)
    if "train" not in by_part:
        raise UserError(f"{where}: its split column says 'train' of no image")
    return {
        part: Part(
            FileRecords(folder, tuple(rows.files[row] for row in own)),
            torch.tensor([index[rows.labels[row]] for row in own], dtype=torch.int64),
            tuple(names),
        )
        for part, own in by_part.items()
    }


def _natural(label: str) -> tuple[float, str]:
    """Numbers in their order, before all words."""
    return (float(label), label) if label.isdecimal() else (float("inf"), label)


def _check_groups(where: str, rows: _Rows) -> None:
    """Every image has a group; with a given split no group is on both of its sides."""
    assert rows.groups is not None
    empty = [file for file, group in zip(rows.files, rows.groups, strict=True) if not group]
    if empty:
        raise UserError(f"{where}: {len(empty)} images have no group: {shortlist(empty)}")
    if rows.splits is None:
        return
    kinds = [SYNONYMS[split.lower()] for split in rows.splits]
    test = "test" if "test" in kinds else "val"
    sides: dict[str, bool] = {}
    for group, kind in zip(rows.groups, kinds, strict=True):
        if sides.setdefault(group, kind == test) != (kind == test):
            raise UserError(f"{where}: the group {group!r} is on both sides of the split")


def group_numbers(groups: Mapping[str, str] | None, paths: Sequence[str | None]) -> Tensor | None:
    """The groups of images by their paths, as numbers [N] int64; None where there are none."""
    if groups is None:
        return None
    number = {group: value for value, group in enumerate(dict.fromkeys(groups.values()))}
    return torch.tensor([number[groups[path or ""]] for path in paths], dtype=torch.int64)
