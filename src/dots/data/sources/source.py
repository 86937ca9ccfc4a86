"""What every reader returns: parts with labels by class name, and how they become two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Subset

from dots.common.errors import UserError
from dots.data.sources.records import JoinedRecords, Records


@dataclass(frozen=True)
class Part:
    """Images with labels: `labels` [N] int64 index into `names`, this part's class names.

    A negative label means that the image has none. Parts are only ever put together by class
    *name*, so that no part can shift another's labels.
    """

    records: Records
    labels: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.labels)

    def select(self, rows: Tensor) -> Part:
        """The images in `rows` [M] int64, in that order."""
        records: Records = Subset(self.records, rows.tolist())  # type: ignore[arg-type]  # any sequence does
        return Part(records, self.labels[rows], self.names)


@dataclass(frozen=True)
class Source:
    """Where images come from: a training part, and a test part where the source has one.

    `flip` says whether a mirrored image keeps its class; `notices` what the reader decided
    and the user should know.
    """

    name: str
    train: Part
    test: Part | None
    flip: bool
    notices: tuple[str, ...] = ()
    groups: Mapping[str, str] | None = None
    """What may not be on both sides of a split, by the image's path; None: every image alone."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, those of the training part."""
        return self.train.names


def make_source(
    name: str, parts: Mapping[str, Part], *, flip: bool, notices: Sequence[str] = ()
) -> Source:
    """Make a source of the parts "train" and, where present, "val" and "test".

    The classes are those that occur in "train", in the order of its names. With both others,
    the validation images join the training images (the search draws its own halves from them)
    and "test" is held out; with "val" alone, it is the test. Images without a label, and
    those of classes that "train" lacks, are left out with a notice.

    Raises UserError for fewer than two classes and for an empty part.
    """
    said = list(notices)
    labelled = {key: _labelled(part, f"{name}: {key}", said) for key, part in parts.items()}
    train = _occurring(labelled["train"], name, said)
    others = {
        key: aligned(part, train.names, f"{name}: {key}", said)
        for key, part in labelled.items()
        if key != "train" and len(part)
    }
    test, val = others.get("test"), others.get("val")
    if val is not None and test is None:
        test, val = val, None
        said.append(f"{name}: the validation part is the test set")
    if val is not None:
        train = join_parts((train, val))
        said.append(f"{name}: {len(val)} validation images join the training images")
    if test is not None:
        _notice_missing(test, name, said)
    return Source(name, train, test, flip, tuple(said))


def join_parts(parts: Sequence[Part]) -> Part:
    """One part of several; classes are matched by name, in order of first appearance."""
    if len(parts) == 1:
        return parts[0]
    names = tuple(dict.fromkeys(name for part in parts for name in part.names))
    labels = torch.cat([_renamed(part, names) for part in parts])
    records = JoinedRecords([part.records for part in parts])  # type: ignore[misc]  # as above
    return Part(records, labels, names)


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names, with the number of the class behind those that occur twice."""
    if len(set(names)) == len(names):
        return tuple(names)
    return tuple(
        f"{name} ({label})" if names.count(name) > 1 else name for label, name in enumerate(names)
    )


def _labelled(part: Part, where: str, said: list[str]) -> Part:
    keep = part.labels >= 0
    lost = len(part) - int(keep.sum())
    if not lost:
        return part
    said.append(f"{where}: {lost} images without a label are left out")
    return part.select(keep.nonzero().flatten())


def _occurring(train: Part, name: str, said: list[str]) -> Part:
    """The training part with the class names that occur in it, and no others."""
    if not len(train):
        raise UserError(f"{name}: there are no training images")
    counts = torch.bincount(train.labels, minlength=len(train.names)).tolist()
    names = tuple(n for n, count in zip(train.names, counts, strict=True) if count)
    if len(names) < 2:
        raise UserError(
            f"{name}: all training images are of one class ({names[0]!r}); "
            "at least two classes are needed"
        )
    if len(names) < len(train.names):
        absent = [n for n in train.names if n not in set(names)]
        said.append(f"{name}: classes without training images are left out: {shortlist(absent)}")
    return Part(train.records, _renamed(train, names), names)


def _renamed(part: Part, names: tuple[str, ...]) -> Tensor:
    """The labels of a part as indices into `names`; -1 where the class is not among them."""
    index = {name: label for label, name in enumerate(names)}
    table = torch.tensor([*(index.get(n, -1) for n in part.names), -1])  # no label: the last
    return table[part.labels.clamp(min=-1)]


def aligned(part: Part, names: tuple[str, ...], where: str, said: list[str]) -> Part:
    """A part with labels that index `names`, the training classes, matched by name.

    Images of other classes are left out, which is added to `said`. UserError if none is left.
    """
    labels = _renamed(part, names)
    keep = (labels >= 0).nonzero().flatten()
    if len(keep) < len(part):
        unknown = [n for n in part.names if n not in set(names)]
        said.append(
            f"{where}: {len(part) - len(keep)} images left out, of classes that the training "
            f"part lacks: {shortlist(unknown)}"
        )
    if not len(keep):
        raise UserError(f"{where}: no image is of a class of the training part")
    known = Part(part.records, labels, names)
    return known if len(keep) == len(part) else known.select(keep)


def _notice_missing(test: Part, name: str, said: list[str]) -> None:
    counts = torch.bincount(test.labels, minlength=len(test.names)).tolist()
    missing = [n for n, count in zip(test.names, counts, strict=True) if not count]
    if missing:
        said.append(f"{name}: classes without test images: {shortlist(missing)}")


def shortlist(names: Sequence[str], shown: int = 5) -> str:
    """The first names, quoted, on one line, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(map(repr, names[:shown])) + more
