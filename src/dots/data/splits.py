"""Which image is in which part: stratified, drawn by seed, kept in a file."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dots.common.errors import UserError
from dots.common.files import read_json, write_json
from dots.common.records import SPLITS
from dots.common.seeding import generator
from dots.data.images import ImageData, ImageSet
from dots.data.sources.source import Part, shortlist

VERSION = 1


def allocate(counts: Sequence[int], total: int, *, spare: int = 1) -> list[int]:
    """How many of `total` images each class gives, in proportion to its count.

    Largest remainders decide; a class gives at least one image and keeps at least `spare`,
    as far as it has them (the first `spare` images are kept). The sum is `total` unless these
    bounds forbid it.
    """
    everything = sum(counts)
    most = [max(0, count - spare) for count in counts]
    least = [min(1, bound) for bound in most]
    ideal = [count * total / everything for count in counts]
    bounds = list(zip(ideal, least, most, strict=True))
    shares = [min(max(int(wish), low), high) for wish, low, high in bounds]
    order = sorted(range(len(counts)), key=lambda k: (shares[k] - ideal[k], k))
    _distribute(shares, order, total - sum(shares), 1, most)
    _distribute(shares, order[::-1], sum(shares) - total, -1, least)
    return shares


def _distribute(
    shares: list[int], order: list[int], missing: int, step: int, bounds: list[int]
) -> None:
    """Change shares by one at a time, in `order`, until nothing is missing or possible."""
    while missing > 0:
        movable = [k for k in order if shares[k] != bounds[k]][:missing]
        if not movable:
            return
        for k in movable:
            shares[k] += step
        missing -= len(movable)


def stratified(labels: Tensor, total: int, draw: torch.Generator, *, spare: int = 1) -> Tensor:
    """A mask [N] of about `total` images, each class in proportion (see allocate).

    `labels` is [N] int64; which images of a class are taken is drawn at random.
    """
    counts = torch.bincount(labels)
    shares = torch.tensor(allocate(counts.tolist(), total, spare=spare))
    shuffled = torch.randperm(len(labels), generator=draw)
    grouped = shuffled[labels[shuffled].argsort(stable=True)]
    group = labels[grouped]
    place = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[group]
    mask = torch.zeros(len(labels), dtype=torch.bool)
    mask[grouped[place < shares[group]]] = True
    return mask


def grouped(labels: Tensor, groups: Tensor, fraction: float, seed: int) -> Tensor:
    """A mask [N] of about `fraction` of the images, near to stratified, of whole groups.

    `labels` and `groups` are [N] int64. It is the best fold of scikit-learn's
    StratifiedGroupKFold. Raises UserError where no fold leaves every class on both sides.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    if fraction > 0.5:
        return ~grouped(labels, groups, 1 - fraction, seed)
    count = len(set(groups.tolist()))
    folds = min(max(2, round(1 / fraction)), count)
    everything = set(labels.tolist())
    best: Tensor | None = None
    if folds > 1:
        split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed % 2**32)
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # rare classes
            found = [rows for _, rows in split.split(labels, labels, groups)]
        for rows in found:
            mask = torch.zeros(len(labels), dtype=torch.bool)
            mask[torch.from_numpy(rows)] = True
            whole = all(set(labels[side].tolist()) == everything for side in (mask, ~mask))
            near = best is None or _distance(mask, fraction) < _distance(best, fraction)
            best = mask if whole and near else best
    if best is None:
        raise UserError(
            f"{count} groups cannot be split so that every class is on both sides: "
            "give more groups, or the split in a column"
        )
    return best


def _distance(mask: Tensor, fraction: float) -> float:
    return abs(float(mask.float().mean()) - fraction)


def limited(part: Part, limit: int | None, seed: int) -> Part:
    """At most `limit` images of a part, stratified. UserError if that is below two a class."""
    if limit is None or limit >= len(part):
        return part
    if limit < 2 * len(part.names):
        raise UserError(
            f"data.limit = {limit} leaves less than two images for each of "
            f"{len(part.names)} classes: raise it to {2 * len(part.names)} or more"
        )
    mask = stratified(part.labels, limit, generator(seed, "limit"), spare=0)
    return part.select(mask.nonzero().flatten())


def halves(
    labels: Tensor,
    seed: int,
    *,
    weight_fraction: float = 0.5,
    arch_fraction: float | None = None,
    limit: int | None = None,
    groups: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The halves A and B of the bi-level search: rows of the training part, sorted.

    A (weights) and B (architecture) get the given shares of the training images, or of
    `limit` of them; B what A leaves where `arch_fraction` is None. Both are stratified: every
    class with two images or more is in both (the paper takes the file order's halves). A
    class with one image is in A. Images of one of the `groups` [N] are in one half.

    Raises UserError where a half would be empty.
    """
    rows = torch.arange(len(labels))
    if limit is not None and limit < len(labels):
        rows = rows[stratified(labels, limit, generator(seed, "search limit"), spare=0)]
    rest = 1 - weight_fraction
    if groups is None:
        mask = stratified(labels[rows], round(len(rows) * rest), generator(seed, "halves"))
    else:
        mask = grouped(labels[rows], groups[rows], rest, seed)
    half_a, half_b = rows[~mask], rows[mask]
    if arch_fraction is not None and arch_fraction < rest:
        total = round(len(rows) * arch_fraction)
        keep = stratified(labels[half_b], total, generator(seed, "half B"), spare=0)
        half_b = half_b[keep]
    if not len(half_a) or not len(half_b):
        raise UserError(
            f"{len(rows)} training images cannot be halved for the search: "
            "every class has a single one"
        )
    return half_a, half_b


@dataclass(frozen=True)
class Holdout:
    """A part without a test set of its own, split by `mask` [N] (True: test)."""

    part: Part
    mask: Tensor
    seed: int
    fraction: float
    file: Path | None

    @staticmethod
    def choose(
        part: Part,
        fraction: float,
        seed: int,
        folder: Path | None,
        name: str,
        groups: Tensor | None = None,
    ) -> Holdout:
        """Hold out a stratified `fraction`, or what splits.json in `folder` says, if it exists.

        Whole `groups` [N] are held out where there are some.

        Raises UserError where a saved split does not fit the images, the seed or the
        fraction.
        """
        if groups is None:
            mask = stratified(part.labels, round(len(part) * fraction), generator(seed, "test"))
        else:
            mask = grouped(part.labels, groups, fraction, seed)
        if not mask.any():
            raise UserError(f"{name}: every class has a single image: nothing can be held out")
        holdout = Holdout(part, mask, seed, fraction, folder and folder / SPLITS)
        if holdout.file is not None and holdout.file.exists():
            return replace(holdout, mask=_saved(holdout.file, part, holdout.facts))
        return holdout

    @property
    def facts(self) -> dict[str, Any]:
        """What the split depends on, beside the images."""
        return {"version": VERSION, "seed": self.seed, "test_fraction": self.fraction}

    @property
    def train(self) -> Part:
        """The images that are not held out."""
        return self.part.select((~self.mask).nonzero().flatten())

    @property
    def test(self) -> Part:
        """The images that are held out."""
        return self.part.select(self.mask.nonzero().flatten())

    def save(self) -> None:
        """Write splits.json: every image by its path inside the data set, or by its row."""
        if self.file is None or self.file.exists():
            return
        names: dict[str, list[str | int]] = {"train": [], "test": []}
        for row, is_test in enumerate(self.mask.tolist()):
            names["test" if is_test else "train"].append(self.part.records[row].key)
        write_json(self.file, {**self.facts, "labels": _digest(self.part), **names})


def saved_test(part: Part, folder: Path) -> Part:
    """The images that splits.json in `folder` holds out. UserError if it does not fit them."""
    mask = _saved(folder / SPLITS, part, {})
    return part.select(mask.nonzero().flatten())


def _digest(part: Part) -> str:
    """What the labels are, so that a change of them is seen."""
    text = json.dumps([part.names, part.labels.tolist()]).encode()
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def _saved(file: Path, part: Part, facts: dict[str, Any]) -> Tensor:
    value = read_json(file, what="a saved split")
    where = repr(str(file))
    if not isinstance(value, dict) or value.get("version") != VERSION:
        raise UserError(f"{where} is no split of version {VERSION}")
    for name, fact in facts.items():
        if value.get(name) != fact:
            raise UserError(
                f"{where} was made with {name} = {value.get(name)!r}, not {fact!r}: "
                "use that, or another run directory"
            )
    train, test = (value.get(key) for key in ("train", "test"))
    if not isinstance(train, list) or not isinstance(test, list):
        raise UserError(f"{where} lacks the lists 'train' and 'test'")
    listed = {key: False for key in train if isinstance(key, str | int)}
    listed |= {key: True for key in test if isinstance(key, str | int)}
    if len(listed) != len(train) + len(test):
        raise UserError(f"{where} names an image twice")
    _check_listed(where, part, listed, value.get("labels"))
    return torch.tensor([listed[part.records[row].key] for row in range(len(part))])


def _check_listed(where: str, part: Part, listed: dict[str | int, bool], labels: object) -> None:
    present = {part.records[row].key for row in range(len(part))}
    for these, what in ((listed.keys() - present, "gone"), (present - listed.keys(), "new")):
        if these:
            raise UserError(
                f"the data changed since {where} was written: {len(these)} images are {what} "
                f"({shortlist(sorted(map(str, these)), 1)}): restore them, or start a new run"
            )
    if labels != _digest(part):
        raise UserError(
            f"the labels changed since {where} was written: restore them, or start a new run"
        )


def halves_record(data: ImageData) -> dict[str, Any]:
    """The content of halves.json.

    {"weights": half A, "architecture": half B}, each a list of images: paths below the common
    folder of all training images, or rows of the training part where images are no files.
    """
    root = _root(data.train)
    return {
        "weights": _named(data.train, data.half_a, root),
        "architecture": _named(data.train, data.half_b, root),
    }


def check_halves(kept: Any, data: ImageData, where: str) -> None:
    """Raise UserError where the halves are not those that were kept in the file `where`."""
    now = halves_record(data)
    for name, images in now.items():
        before = kept.get(name) if isinstance(kept, dict) else None
        if before != images:
            count = len(set(map(str, images)) ^ set(map(str, before or [])))
            raise UserError(
                f"the halves of the search are not those in {where}: {count} images of "
                f"'{name}' differ: the data or the version of dots have changed"
            )


def _root(images: ImageSet) -> str | None:
    paths = [path for row in range(len(images)) if (path := images.path(row)) is not None]
    return os.path.commonpath(paths) if len(paths) == len(images) and paths else None


def _named(images: ImageSet, rows: Tensor, root: str | None) -> Sequence[str | int]:
    if root is None:
        return [int(row) for row in rows]
    named = []
    for row in rows.tolist():
        path = images.path(row)
        assert path is not None
        named.append(os.path.relpath(path, root).replace(os.sep, "/"))
    return named
