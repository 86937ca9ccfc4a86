"""Data sets of the Hugging Face hub by name, through the library `datasets`."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

import torch

from dots.common.errors import UserError, in_one_line
from dots.data.decode import ImageError, open_image
from dots.data.sources.folder import SYNONYMS
from dots.data.sources.parquet import IMAGE_COLUMNS, label_columns, label_notices
from dots.data.sources.records import Raw, Record
from dots.data.sources.source import Part, Source, make_source, unique_names

PREFIX = "hf:"


def is_hub_name(spec: object) -> bool:
    """Whether this is "hf:" and a name of the hub."""
    return isinstance(spec, str) and spec.startswith(PREFIX)


def read_hub(spec: str, *, download: bool = True, label: str | None = None) -> Source:
    """Read `hf:NAME` or `hf:NAME:CONFIGURATION` up to the labels; no image is decoded.

    The image column is the first of that type; the label column the one named, else `label`,
    `labels`, `fine_label`, or the only one with class names. Code of the data set's own is
    never run.
    Raises UserError where the library is absent, there is no such data set, or a column lacks.
    """
    try:
        import datasets
    except ImportError:
        raise UserError(
            f"{spec!r} needs the library datasets: install it by pip install 'dots-nas[datasets]'"
        ) from None
    name, _, configuration = spec.removeprefix(PREFIX).partition(":")
    options: dict[str, Any] = {}
    if not download:
        options["download_config"] = datasets.DownloadConfig(local_files_only=True)
    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(name, configuration or None, **options)
    except (
        OSError,
        ValueError,
        RuntimeError,
        KeyError,
        datasets.exceptions.DatasetsError,
    ) as error:
        raise UserError(f"cannot load {spec!r} from the hub: {in_one_line(error)}") from None
    said: dict[str, None] = {}
    parts = {
        SYNONYMS[key.lower()]: _part(split, f"{spec} ({key})", label, said)
        for key, split in loaded.items()
        if key.lower() in SYNONYMS
    }
    if "train" not in parts:
        raise UserError(f"{spec!r} has no part 'train', only {', '.join(map(repr, loaded))}")
    short = name.rstrip("/").rpartition("/")[2] or "hub"
    return make_source(short, parts, flip=True, notices=tuple(said))


def _part(split: Any, where: str, label: str | None, said: dict[str, None]) -> Part:
    import datasets

    features = split.features
    images = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    images += [name for name in IMAGE_COLUMNS if name in features and name not in images]
    named = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    labels = [name for name in label_columns(label) if name in features]
    labels += named if len(named) == 1 and label is None else []
    for columns, what in ((images, "image"), (labels, "label")):
        if not columns:
            wanted = f"{what} column" + (f" {label!r}" if label and what == "label" else "")
            raise UserError(f"{where} has no {wanted}; it has {', '.join(features)}")
    said |= dict.fromkeys(label_notices(labels[0], features))
    column = images[0]
    plain = split.cast_column(column, datasets.Image(decode=False))
    values = list(split.with_format(None)[labels[0]])
    feature = features[labels[0]]
    tensor, names = _labels(values, getattr(feature, "names", None), f"{where}: {labels[0]}")
    return Part(HubRecords(plain, column, where), tensor, names)


def _labels(
    values: list[Any], names: list[str] | None, where: str
) -> tuple[torch.Tensor, tuple[str, ...]]:
    if all(value is None or isinstance(value, str) for value in values):
        known = tuple(sorted({value for value in values if value is not None}))
        index = {name: label for label, name in enumerate(known)}
        return torch.tensor([-1 if v is None else index[v] for v in values]), known
    if not all(value is None or type(value) is int for value in values):
        raise UserError(f"{where} holds neither integers nor text")
    tensor = torch.tensor([-1 if value is None else value for value in values])
    largest = int(tensor.max()) if len(tensor) else 0
    if names is None:
        names = [str(label) for label in range(largest + 1)]
    if largest >= len(names):
        raise UserError(f"{where}: the label {largest} has no name among {len(names)}")
    return tensor, unique_names(names)


class HubRecords:
    """The images of one split, undecoded: bytes, or the path of a file."""

    def __init__(self, split: Any, column: str, name: str) -> None:
        self.split = split
        self.column = column
        self.name = name

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, row: int) -> Record:
        where = f"in row {row} of {self.name!r}"
        return Record(partial(self._open, row, where), where, row)

    def _open(self, row: int, where: str) -> Raw:
        value = self.split[row][self.column]
        content = value.get("bytes") if isinstance(value, dict) else None
        if content is None:
            path = value.get("path") if isinstance(value, dict) else None
            with contextlib.suppress(OSError, TypeError), open(path, "rb") as file:  # type: ignore[arg-type]  # None is a TypeError
                content = file.read()
        if not isinstance(content, bytes):
            raise ImageError(where, "the row holds no image")
        return open_image(content, where)
