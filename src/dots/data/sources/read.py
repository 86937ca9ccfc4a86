"""What the user names: a name, a path, or a dataset."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from dots.common.errors import UserError
from dots.data.sources.arrays import read_digits, read_npz
from dots.data.sources.dataset import read_dataset
from dots.data.sources.folder import read_folder
from dots.data.sources.hub import is_hub_name, read_hub
from dots.data.sources.parquet import holds_images, parquet_files, read_parquet
from dots.data.sources.source import Source
from dots.data.sources.table import TEXT_TABLES, Columns, read_table
from dots.data.sources.torchvision import canonical, read_torchvision, torchvision_sets

Spec = str | Path | Dataset[Any] | tuple[Dataset[Any], Dataset[Any]]


def read_source(
    spec: Spec,
    *,
    download: bool = True,
    skip_corrupt: bool = False,
    columns: Columns = Columns(),  # noqa: B008  # it is frozen
) -> Source:
    """Find out what `spec` is and read it up to the labels (see open_data).

    Raises UserError where `columns` names some and there are none, too.
    """
    label = columns.label
    if is_table(spec):
        assert isinstance(spec, str | Path)
        return read_table(Path(spec).expanduser(), columns, skip_corrupt=skip_corrupt)
    for name, value in columns.given.items():
        if name != "label" or not has_columns(spec):
            kinds = "" if name != "label" else ", parquet files and data sets of the hub"
            raise UserError(
                f"data.{name}={value}: only tables of file names{kinds} have that; leave it out"
            )
    if isinstance(spec, tuple):
        return read_dataset(*spec)
    if not isinstance(spec, str | Path):
        return read_dataset(spec)
    if isinstance(spec, str) and spec.lower() == "digits":
        return read_digits()
    if isinstance(spec, str) and canonical(spec) in torchvision_sets():
        return read_torchvision(spec, download=download)
    if isinstance(spec, str) and is_hub_name(spec):
        return read_hub(spec, download=download, label=label)
    path = Path(spec).expanduser()
    try:
        if path.is_dir():
            return _read_folder(path, skip_corrupt, label)
        if path.is_file():
            return _read_file(path, label)
    except (OSError, ValueError) as error:  # a name too long, or with a null byte
        raise UserError(f"cannot open {str(spec)!r}: {error}") from None
    names = ("digits", *torchvision_sets())
    near = difflib.get_close_matches(canonical(str(spec)), names, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    if isinstance(spec, str) and spec.count("/") == 1 and not spec.startswith((".", "/", "~")):
        meant += f"For a data set of the Hugging Face hub write hf:{spec}. "
    raise UserError(
        f"no data {str(spec)!r}: {meant}Looked for a file or folder at {str(path.absolute())!r} "
        f"and for one of the names {', '.join(names)}"
    )


def is_table(spec: Spec) -> bool:
    """Whether it is a CSV file, or a parquet file without a column of images."""
    if not isinstance(spec, str | Path):
        return False
    path = Path(spec).expanduser()
    if path.suffix.lower() in TEXT_TABLES:
        return path.is_file()
    return path.suffix.lower() == ".parquet" and path.is_file() and not holds_images(path)


def has_columns(spec: Spec) -> bool:
    """Whether the labels are in one of several columns: in parquet files and on the hub."""
    if not isinstance(spec, str | Path):
        return False
    path = Path(spec).expanduser()
    return is_hub_name(spec) or path.suffix.lower() == ".parquet" or bool(parquet_files(path))


def _read_folder(path: Path, skip_corrupt: bool, label: str | None) -> Source:
    if parquet_files(path):
        return read_parquet(path, label)
    return read_folder(path, skip_corrupt=skip_corrupt)


def _read_file(path: Path, label: str | None) -> Source:
    if path.suffix.lower() == ".parquet":
        return read_parquet(path, label)
    if path.suffix.lower() == ".npz":
        return read_npz(path)
    raise UserError(
        f"{str(path)!r} is neither a .npz nor a .parquet nor a .csv file: "
        "give one of these, or a folder of images with one sub-folder per class"
    )


def where(spec: Spec) -> str:
    """What the data were opened from, in one word."""
    if isinstance(spec, str | Path):
        return str(spec)
    return type(spec[0] if isinstance(spec, tuple) else spec).__name__


def remembered(spec: Spec) -> str | None:
    """A name as it is, a path as an absolute one, None for datasets given from Python."""
    if not isinstance(spec, str | Path):
        return None
    if isinstance(spec, str) and canonical(spec) in ("digits", *torchvision_sets()):
        return spec
    if isinstance(spec, str) and is_hub_name(spec):
        return spec
    return str(Path(spec).expanduser().resolve())
