"""What a data set is, before anything is run on it: `dots check`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from dots.common.errors import UserError
from dots.data import DataInfo
from dots.data.inspect import Inspection, Seen, inspect
from dots.data.load import Progress
from dots.data.sources.read import Spec, read_source
from dots.data.sources.records import Records
from dots.data.sources.source import Source
from dots.data.sources.table import Columns
from dots.data.survey import LARGEST_DEFAULT

LISTED = 20  # so many corrupt files or duplicates are named
ALIKE_BITS = 3  # of 64, in which two images that look alike may differ
SHELF = 500  # of so many images with the same quarter each is compared
IMBALANCED = 3.0  # largest class over smallest, from which class weights are suggested


@dataclass(frozen=True)
class PartFacts:
    """One part of a data set."""

    images: int
    classes: dict[str, int]
    sizes: dict[str, list[int]]
    modes: dict[str, int]
    mean: list[float]
    std: list[float]
    corrupt: list[dict[str, str]]


@dataclass(frozen=True)
class Twins:
    """Images that occur more than once: how many, and the first of them by name."""

    count: int
    examples: list[list[str]]


@dataclass(frozen=True)
class Facts:
    """Everything that `check` found.

    `leaks` are test images whose exact pixels also occur in training, `alike` those that
    roughly look like a training image (without the exact ones; look at them); `copies` are training
    images that occur before in training, `contradictions` those of them with another label.
    """

    name: str
    parts: dict[str, PartFacts]
    notices: list[str]
    leaks: Twins
    alike: Twins
    copies: Twins
    contradictions: Twins
    imbalance: float
    image_size: int
    channels: int
    suggestions: list[str]

    @property
    def sound(self) -> bool:
        """Whether every image can be read and no test image occurs in training."""
        return not self.leaks.count and not any(part.corrupt for part in self.parts.values())

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"sound": self.sound, **asdict(self)}

    def info(self) -> DataInfo:
        """What a network needs to know, at the suggested size."""
        train = self.parts["train"]
        count = self.channels
        mean = tuple((train.mean or [0.5] * count)[:count])
        std = tuple(max(s, 1e-3) for s in (train.std or [0.25] * count)[:count])
        classes = tuple(train.classes)
        return DataInfo(self.name, classes, count, self.image_size, mean, std, flip=True)


def check(
    spec: Spec,
    *,
    download: bool = True,
    progress: Progress | None = None,
    columns: Columns = Columns(),  # noqa: B008  # it is frozen
) -> Facts:
    """Read a whole data set. Raises UserError where it cannot be opened at all."""
    source = read_source(spec, download=download, skip_corrupt=True, columns=columns)
    train = inspect(source.train, "train", progress)
    test = None if source.test is None else inspect(source.test, "test", progress)
    if not train.seen:
        raise UserError(f"{source.name}: none of its training images can be read")
    parts = {"train": _facts(train)} | ({} if test is None else {"test": _facts(test)})
    leaks, alike = _across(source, train, test)
    copies, contradictions = _within(source, train)
    size, channels = _suggested_size(train), _channels(train)
    counts = [count for count in train.counts.values() if count]
    imbalance = max(counts) / min(counts)
    facts = Facts(
        name=source.name,
        parts=parts,
        notices=list(source.notices),
        leaks=leaks,
        alike=alike,
        copies=copies,
        contradictions=contradictions,
        imbalance=imbalance,
        image_size=size,
        channels=channels,
        suggestions=[],
    )
    facts.suggestions.extend(_suggestions(facts, has_test=test is not None))
    return facts


def _facts(found: Inspection) -> PartFacts:
    widths = sorted(seen.width for seen in found.seen) or [0]
    heights = sorted(seen.height for seen in found.seen) or [0]
    sides = {
        name: [values[0], int(median(values)), values[-1]]
        for name, values in (("width", widths), ("height", heights))
    }
    corrupt = [{"where": p.where, "reason": p.reason} for p in found.corrupt]
    return PartFacts(
        images=len(found.seen),
        classes=found.counts,
        sizes=sides,
        modes=dict(found.modes.most_common()),
        mean=[round(x, 4) for x in found.mean],
        std=[round(x, 4) for x in found.std],
        corrupt=corrupt,
    )


def _suggested_size(found: Inspection) -> int:
    """The median shorter side, a multiple of four, at most LARGEST_DEFAULT."""
    side = int(median(min(seen.width, seen.height) for seen in found.seen))
    return min(LARGEST_DEFAULT, max(8, side // 4 * 4))


def _channels(found: Inspection) -> int:
    gray = {"1", "L", "LA", "La", "F", "I", "I;16"}
    if all(mode in gray or mode.endswith("× 1") for mode in found.modes):
        return 1
    return max(3, len(found.mean))


def _across(source: Source, train: Inspection, test: Inspection | None) -> tuple[Twins, Twins]:
    """Exact and rough twins of test images in training."""
    if test is None or source.test is None:
        return Twins(0, []), Twins(0, [])
    first = {seen.exact: seen for seen in reversed(train.seen)}
    looks = _Looks(train.seen)
    exact = [(seen, first[seen.exact]) for seen in test.seen if seen.exact in first]
    rough = [
        (seen, near)
        for seen in test.seen
        if seen.exact not in first and (near := looks.near(seen)) is not None
    ]
    records = source.test.records, source.train.records
    return _twins(exact, *records), _twins(rough, *records)


class _Looks:
    """Finds images whose rough look differs from another's in few of its 64 bits.

    Where at most ALIKE_BITS = 3 differ, one of four quarters is the same: only images that
    share a quarter are compared.
    """

    def __init__(self, seen: Iterable[Seen]) -> None:
        self._shelves: dict[tuple[int, int], list[Seen]] = defaultdict(list)
        for each in seen:
            for key in _quarters(each.look):
                if len(self._shelves[key]) < SHELF:
                    self._shelves[key].append(each)

    def near(self, image: Seen) -> Seen | None:
        """An image that looks like this one, the most alike first."""
        best, least = None, ALIKE_BITS + 1
        for key in _quarters(image.look):
            for other in self._shelves.get(key, ()):
                assert image.look is not None
                assert other.look is not None
                bits = (image.look ^ other.look).bit_count()
                if bits < least:
                    best, least = other, bits
        return best


def _quarters(look: int | None) -> list[tuple[int, int]]:
    return [] if look is None else [(k, look >> (16 * k) & 0xFFFF) for k in range(4)]


def _within(source: Source, train: Inspection) -> tuple[Twins, Twins]:
    """Repeated training images, and those of them whose labels differ."""
    groups: dict[bytes, list[Seen]] = defaultdict(list)
    for seen in train.seen:
        groups[seen.exact].append(seen)
    labels = source.train.labels.tolist()
    pairs = [(twin, group[0]) for group in groups.values() for twin in group[1:]]
    torn = [(twin, first) for twin, first in pairs if labels[twin.row] != labels[first.row]]
    records = source.train.records
    return _twins(pairs, records, records), _twins(torn, records, records)


def _twins(pairs: Sequence[tuple[Seen, Seen]], ours: Records, theirs: Records) -> Twins:
    named = [[ours[a.row].where, theirs[b.row].where] for a, b in pairs[:LISTED]]
    return Twins(len(pairs), named)


def _suggestions(facts: Facts, *, has_test: bool) -> Iterable[str]:
    train = facts.parts["train"]
    if any(part.corrupt for part in facts.parts.values()):
        yield "mend or remove the corrupt files, or leave them out with --skip-corrupt"
    if facts.leaks.count:
        yield (
            f"remove the {facts.leaks.count} test images that also occur in training: "
            "the test would be too good"
        )
    if facts.contradictions.count:
        yield "look at the training images that occur with two labels"
    if facts.copies.count and not has_test:
        yield "remove the repeated images: the test part is drawn at random and would hold some"
    if facts.imbalance >= IMBALANCED:
        yield (
            f"classes are imbalanced ({facts.imbalance:.1f} : 1): go by the balanced accuracy, "
            "try --set data.class_weights=true"
        )
    if min(train.classes.values()) < 20:
        yield "some classes have fewer than 20 training images: expect little of them"
    shorter = min(train.sizes["width"][1], train.sizes["height"][1])
    if shorter > facts.image_size:
        yield (
            f"images are shrunk from {shorter} to {facts.image_size} pixels: --image-size takes "
            "more, at a cost that grows with the area"
        )
