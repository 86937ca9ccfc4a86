"""Parquet files in the column layout of the Hugging Face hub."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dots.common.errors import UserError, in_one_line
from dots.data.decode import ImageError, open_image
from dots.data.sources.folder import SYNONYMS
from dots.data.sources.records import Raw, Record
from dots.data.sources.source import (
    Part,
    Source,
    join_parts,
    make_source,
    shortlist,
    unique_names,
)

if TYPE_CHECKING:
    import pyarrow.parquet as pq

IMAGE_COLUMNS = ("img", "image")
NAME_COLUMNS = ("file_name", "filename", "file", "path", "image_path")
LABEL_COLUMNS = ("label", "labels", "fine_label")


def parquet_files(folder: Path) -> list[Path]:
    """The parquet files of a folder, or of its sub-folders where it has none itself."""
    for pattern in ("*.parquet", "*/*.parquet"):
        found = sorted(p for p in folder.glob(pattern) if not p.name.startswith("."))
        if found:
            return found
    return []


def holds_images(file: Path) -> bool:
    """Whether a parquet file has a column of images, not of their names; True if unreadable."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(file)
    except (OSError, pa.ArrowException):  # whoever reads it says what is wrong
        return True
    kinds = [schema.field(name).type for name in IMAGE_COLUMNS if name in schema.names]
    text = [pa.types.is_string(kind) or pa.types.is_large_string(kind) for kind in kinds]
    known = {name.lower() for name in schema.names}
    return not all(text) if kinds else known.isdisjoint(NAME_COLUMNS)


def read_parquet(path: Path, label: str | None = None) -> Source:
    """Read a parquet file, or a folder of them, up to the labels; no image is decoded.

    Images are in the column `img` or `image` (a struct with `bytes`, or bytes); labels in
    `label` where it is given, else in the columns `label`, `labels` or `fine_label` (integers,
    whose names may stand in the schema's metadata, or text). Files whose names start with
    train, validation or test (or synonyms) are those parts; without such names all files are
    the training part.

    Raises UserError for a file that is no parquet, or lacks the columns.
    """
    files = [path] if path.is_file() else parquet_files(path)
    parts: dict[str, list[Part]] = {}
    said: dict[str, None] = {}
    for file in files:
        parts.setdefault(_part_of(file), []).append(_read_file(file, label, said))
    if "train" not in parts:
        if set(parts) - {"?"}:
            raise UserError(f"{str(path)!r} has no parquet file whose name starts with 'train'")
        parts["train"] = parts.pop("?")
    parts.pop("?", None)
    joined = {key: join_parts(_same_names(several)) for key, several in parts.items()}
    named = _names_from_train(joined)
    return make_source(path.resolve().stem or "parquet", named, flip=True, notices=tuple(said))


def _part_of(file: Path) -> str:
    word = file.stem.lower()
    for end, letter in enumerate(word):
        if not letter.isalpha():
            word = word[:end]
            break
    return SYNONYMS.get(word, "?")


def _same_names(parts: list[Part]) -> list[Part]:
    """Let shards without class names of their own use those of the first that has some."""
    known = [part.names for part in parts if not _numbered(part.names)]
    return [_with_names(part, known[0]) if known else part for part in parts]


def _names_from_train(parts: dict[str, Part]) -> dict[str, Part]:
    """Let parts whose classes are mere numbers use the training part's names, and reverse."""
    known = [part.names for part in parts.values() if not _numbered(part.names)]
    return {key: _with_names(p, known[0]) if known else p for key, p in parts.items()}


def _numbered(names: tuple[str, ...]) -> bool:
    return all(name == str(label) for label, name in enumerate(names))


def _with_names(part: Part, names: tuple[str, ...]) -> Part:
    if not _numbered(part.names) or len(part.names) > len(names):
        return part
    return Part(part.records, part.labels, names)


def _read_file(file: Path, label: str | None, said: dict[str, None]) -> Part:
    import pyarrow as pa

    records = ParquetRecords(file)
    try:
        schema = records.file.schema_arrow
        column = _column(file, schema.names, label_columns(label), "label")
        said |= dict.fromkeys(label_notices(column, schema.names))
        values = records.file.read(columns=[column])[column].to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"cannot read {str(file)!r} as parquet: {in_one_line(error)}") from None
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {str}:
        names = tuple(sorted({value for value in values if value is not None}))
        index = {name: label for label, name in enumerate(names)}
        labels = [-1 if value is None else index[value] for value in values]
        return Part(records, torch.tensor(labels, dtype=torch.int64), names)
    if kinds != {int}:
        raise UserError(f"{str(file)!r}: the column {column!r} holds neither integers nor text")
    tensor = torch.tensor([-1 if v is None else v for v in values], dtype=torch.int64)
    return Part(records, tensor, _class_names(file, schema.metadata, column, int(tensor.max())))


def label_columns(label: str | None) -> tuple[str, ...]:
    """The columns that may hold the labels, the first choice first: the one named, or all."""
    return LABEL_COLUMNS if label is None else (label,)


def label_notices(taken: str, columns: Iterable[str]) -> Iterator[str]:
    """A line where other columns might hold the labels as well as the one that was taken."""
    others = [name for name in columns if "label" in name.lower() and name != taken]
    if others:
        yield (
            f"labels are taken from the column {taken!r}; --set data.label={others[0]} takes "
            f"another ({shortlist(others)})"
        )


def _column(file: Path, names: list[str], wanted: tuple[str, ...], what: str) -> str:
    for name in wanted:
        if name in names:
            return name
    raise UserError(
        f"{str(file)!r} has no {what} column ({' or '.join(wanted)}); it has {', '.join(names)}"
    )


def _class_names(
    file: Path, metadata: dict[bytes, bytes] | None, column: str, largest: int
) -> tuple[str, ...]:
    """The names in the metadata that the hub writes into the schema, else the numbers."""
    if largest >= 1_000_000:
        raise UserError(f"{str(file)!r}: a label of {largest} is too large for a class number")
    try:
        info: Any = json.loads((metadata or {})[b"huggingface"])
        feature = info["info"]["features"][column]
        names = unique_names([str(name) for name in feature["names"]])
    except (KeyError, TypeError, ValueError, RecursionError):
        return tuple(map(str, range(largest + 1)))
    if largest >= len(names):
        raise UserError(
            f"{str(file)!r}: the label {largest} has no name among the {len(names)} in the file"
        )
    return names


class ParquetRecords:
    """Images in the rows of one parquet file; one row group at a time is held in memory.

    Rows read in order cost one read a row group; rows in random order one each.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._path = path
        try:
            self.file: pq.ParquetFile = pq.ParquetFile(path)
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"cannot read {str(path)!r} as parquet: {in_one_line(error)}") from None
        names = self.file.schema_arrow.names
        self._column = _column(path, names, IMAGE_COLUMNS, "image")
        groups = range(self.file.num_row_groups)
        counts = (self.file.metadata.row_group(group).num_rows for group in groups)
        self._starts: tuple[int, ...] = (0, *accumulate(counts))
        self._group: tuple[int, Any] = (-1, None)

    def __reduce__(self) -> tuple[type[ParquetRecords], tuple[Path]]:
        """An open file does not cross a process border; the path does."""
        return ParquetRecords, (self._path,)

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, row: int) -> Record:
        where = f"in row {row} of {str(self._path)!r}"
        return Record(partial(self._open, row, where), where, row)

    def _open(self, row: int, where: str) -> Raw:
        import pyarrow as pa

        group = bisect_right(self._starts, row) - 1
        if self._group[0] != group:
            try:
                table = self.file.read_row_group(group, columns=[self._column])
            except (OSError, pa.ArrowException) as error:
                raise ImageError(where, in_one_line(error)) from None
            self._group = (group, table[self._column])
        value = self._group[1][row - self._starts[group]].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise ImageError(where, "the row holds no image bytes")
        return open_image(content, where)
