"""A folder of images, one sub-folder per class, flat or in train, val and test folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch

from dots.common.errors import UserError
from dots.data.decode import ImageError, open_image
from dots.data.sources.records import FileRecords
from dots.data.sources.source import Part, Source, make_source, shortlist

SYNONYMS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "eval": "val",
    "test": "test",
    "testing": "test",
}
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".jp2", ".png", ".bmp", ".gif", ".tif", ".tiff"),
    *(".webp", ".avif", ".ppm", ".pgm", ".pbm", ".pnm", ".heic", ".heif", ".hif"),
)
CLUTTER = frozenset(("thumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir"))


def read_folder(root: Path, *, skip_corrupt: bool = False) -> Source:
    """Read the layout of a folder of images; no image is decoded.

    Hidden files and what operating systems leave behind are ignored. A class folder may hold
    folders. A file without an image's suffix is opened to see what it is.

    Raises UserError for a folder without class folders, with one class, with an empty class,
    or with a file that is no image (left out with a notice where `skip_corrupt`).
    """
    said: list[str] = []
    folders = _parts(root)
    if not folders:
        parts = {"train": _read_part(root, root, said, skip_corrupt, strict=True)}
    else:
        if "train" not in folders:
            found = next(iter(folders.values())).name
            raise UserError(
                f"{str(root)!r} has a folder {found!r} but none called 'train': "
                "put the training images there, one sub-folder per class"
            )
        parts = {
            key: _read_part(root, folder, said, skip_corrupt, strict=key == "train")
            for key, folder in folders.items()
        }
        ignored = [f.name for f in _folders(root) if f not in folders.values()]
        if ignored:
            said.append(f"{str(root)!r}: other folders are ignored: {shortlist(ignored)}")
    return make_source(root.resolve().name or "images", parts, flip=True, notices=said)


def _parts(root: Path) -> dict[str, Path]:
    """The folders that are parts; none where the folders are classes.

    A class may be called "train" (and so hold images, not classes): only folders of folders
    are parts.
    """
    parts: dict[str, Path] = {}
    for folder in _folders(root):
        part = SYNONYMS.get(folder.name.lower())
        if part is None or not any(_folders(folder)):
            continue
        if part in parts:
            raise UserError(
                f"{str(root)!r} has both {parts[part].name!r} and {folder.name!r}: "
                f"which is the {part} part? Rename one"
            )
        parts[part] = folder
    return parts


def _read_part(
    root: Path, folder: Path, said: list[str], skip_corrupt: bool, *, strict: bool
) -> Part:
    """The images of one part. Where `strict`, an empty class is an error."""
    classes = list(_folders(folder))
    beside = sum(1 for entry in _entries(folder) if _has_suffix(entry) and entry.is_file())
    if not classes:
        found = f"{beside} images and no folder" if beside else "no folder"
        raise UserError(
            f"{str(folder)!r} holds {found}: expected images in one sub-folder per class"
        )
    if beside:
        said.append(f"{str(folder)!r}: {beside} images beside the class folders are ignored")
    files: list[str] = []
    labels: list[int] = []
    for label, path in enumerate(classes):
        found_files = list(_images(root, path, said, skip_corrupt))
        if not found_files and strict:
            raise UserError(f"the class folder {str(path)!r} holds no images: fill it or remove it")
        files += found_files
        labels += [label] * len(found_files)
    names = tuple(path.name for path in classes)
    return Part(FileRecords(root, tuple(files)), torch.tensor(labels, dtype=torch.int64), names)


def _images(root: Path, folder: Path, said: list[str], skip_corrupt: bool) -> Iterator[str]:
    """Paths relative to `root` of all images under a class folder, sorted."""
    for path in _walk(folder, frozenset()):
        if not _has_suffix(path):
            try:
                open_image(path, repr(str(path))).close()
            except ImageError as problem:
                if not skip_corrupt:
                    raise
                said.append(f"left out {problem.where}: {problem.reason}")
                continue
        yield path.relative_to(root).as_posix()


def _walk(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    """All regular files under a folder, through links, but not in circles."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for entry in _entries(folder):
        if entry.is_dir():
            yield from _walk(entry, above | {real})
        elif entry.is_file():  # neither a broken link nor a pipe
            yield entry


def _folders(folder: Path) -> Iterator[Path]:
    return (entry for entry in _entries(folder) if entry.is_dir())


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, sorted by name, without hidden files and clutter."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise UserError(f"cannot read the folder {str(folder)!r}: {error.strerror}") from None
    return [folder / n for n in names if not n.startswith(".") and n.lower() not in CLUTTER]


def _has_suffix(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES
