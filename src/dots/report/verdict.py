"""Was the search worth it? The found cell beside the others, each trained the same way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from dots import zoo
from dots.common.records import Competitor, KnownSize, Trained
from dots.report.charts.points import Dot, Estimate, interval_chart, scatter_chart
from dots.report.reading import FOUND, Run
from dots.report.wording import BASELINES, cell_name, duration, percent, points, visible
from dots.zoo import PUBLISHED
from dots.zoo.dense import DENSE

Kind = Literal["found", "given", "reference"]


@dataclass(frozen=True)
class TrainedNetwork:
    """Where the trained network comes from, and its name as a title and within a sentence."""

    kind: Kind
    title: str
    words: str

    def title_of(self, name: str) -> str:
        """The title of one of the run's networks: this one, or a baseline."""
        return self.title if name == FOUND else cell_name(name)


def trained_network(run: Run) -> TrainedNetwork:
    """What the run's test accuracy is of.

    A given cell that is one of the zoo's is called by its name there.
    """
    if run.result is not None and run.result.reference is not None:
        name = visible(run.result.reference)
        return TrainedNetwork("reference", name, name)
    if run.candidates is not None or run.architecture:
        return TrainedNetwork("found", cell_name(FOUND), "the found cell")
    genotype = run.genotypes.get(FOUND)
    known = next((e.name for e in zoo.entries() if e.genotype == genotype), None)
    if known is not None:
        return TrainedNetwork("given", known, known)
    return TrainedNetwork("given", "Given cell", "the given cell")


Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution: 95 % intervals."""


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share of `count` images that were got right."""
    centre = share + Z**2 / (2 * count)
    spread = Z * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    scale = 1 + Z**2 / count
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def difference(one: float, other: float, count: int) -> tuple[float, float]:
    """Newcombe's 95 % interval of `one` - `other`, both shares of `count` images.

    It takes the two as independent. They share their test images here, so it is rather too
    wide than too narrow.
    """
    low_one, high_one = wilson(one, count)
    low_other, high_other = wilson(other, count)
    gap = one - other
    return (
        gap - math.hypot(one - low_one, high_other - other),
        gap + math.hypot(high_one - one, other - low_other),
    )


@dataclass(frozen=True)
class Verdict:
    """The verdict in a sentence, what to hold against it, the networks and the figures.

    `rows` are the networks: title, numbers, and the lead over the found cell. `halving` are
    the cells that competed, who got furthest first; `warm_start`: the training of the winner went
    on from there.
    """

    searched: bool
    sentence: str
    remarks: tuple[str, ...]
    rows: tuple[tuple[str, Trained, float | None], ...]
    halving: tuple[Competitor, ...]
    warm_start: bool
    intervals: Markup | None
    scatters: tuple[Markup, ...]


def test_images(run: Run) -> int | None:
    """How many test images there were, or None where no file tells."""
    if run.result is not None and run.result.test_images:
        return run.result.test_images
    if run.data is not None and run.data.test_images:
        return run.data.test_images
    return sum(map(sum, run.test.confusion)) or None if run.test is not None else None


def trained_cells(run: Run) -> dict[str, Trained]:
    """The numbers of each cell that was trained and tested, the found one first."""
    if run.result is None:
        return {}
    cells: dict[str, Trained] = {FOUND: run.result}
    order = BASELINES
    names = sorted(run.result.baselines, key=lambda n: (order.index(n) if n in order else 9, n))
    return cells | {name: run.result.baselines[name] for name in names}


def verdict(run: Run) -> Verdict | None:
    """The comparison, or None where no cell was tested."""
    cells = trained_cells(run)
    if not cells or cells[FOUND].test_accuracy is None:
        return None
    count = test_images(run)
    tested = {name: c for name, c in cells.items() if c.test_accuracy is not None}
    trained = trained_network(run)
    return Verdict(
        searched=trained.kind == "found",
        sentence=_sentence(tested, count)
        if trained.kind == "found"
        else _unsearched(trained, tested),
        remarks=(*_origin(run), *_at_equal_time(run, tested), *_remarks(tested, count, trained)),
        rows=tuple(
            (trained.title_of(name), numbers, _lead(numbers, cells[FOUND]))
            for name, numbers in cells.items()
        ),
        halving=tuple(_competitors(run)),
        warm_start=run.halving is not None and run.setting("halving.warm_start") is True,
        intervals=_intervals(tested, count, trained),
        scatters=tuple(_scatters(run, tested, trained)) if len(tested) > 1 or run.sizes else (),
    )


def _lead(numbers: Trained, found: Trained) -> float | None:
    if numbers is found or numbers.test_accuracy is None or found.test_accuracy is None:
        return None
    return numbers.test_accuracy - found.test_accuracy


def _competitors(run: Run) -> list[Competitor]:
    """Who got furthest first."""
    halving = run.halving
    if halving is None:
        return []
    rounds = sorted(
        halving.cells,
        key=lambda cell: (-len(cell.validation), *(-v.accuracy for v in cell.validation[-1:])),
    )
    return sorted(rounds, key=lambda cell: cell.origin != halving.winner)


def _accuracy(numbers: Trained) -> float:
    return numbers.test_accuracy or 0.0


def _images(gap: float, count: int | None) -> str:
    if count is None:
        return ""
    images = abs(round(gap * count))
    return f", {images} of {count} test images" if images != 1 else f", one of {count} test images"


OPPONENTS = {
    "random": "the random cell",
    "published": "the published cell, trained longer",
    "plain": "the plain network",
}
"""What the found cell must beat for its search to have been worth it."""


def _sentence(cells: Mapping[str, Trained], count: int | None) -> str:
    against = {name: _accuracy(cells[name]) for name in OPPONENTS if name in cells}
    if "random" not in against:
        return (
            "This run cannot say: no random cell was trained beside the found one. "
            "Any cell of the space may do as well."
        )
    best = max(against, key=lambda name: against[name])
    words, found, theirs = OPPONENTS[best], _accuracy(cells[FOUND]), against[best]
    gap = found - theirs
    pair = f"{percent(found)} against {percent(theirs)}{_images(gap, count)}"
    if round(10_000 * gap) == 0:
        return (
            f"No difference: the found cell and {words} both reached {percent(found)}. "
            f"On this run the search did not pay off."
        )
    if gap < 0:
        return (
            f"No: {words} won by {points(-gap).lstrip('+')} ({pair}). "
            f"On this run the search did not pay off."
        )
    sure = count is not None and difference(found, theirs, count)[0] > 0
    opening = "In this one run, yes" if sure else "Perhaps"
    lead = points(gap).lstrip("+")
    others = len(against) - 1
    more = ", and of the others by more" if others > 1 else ", and of the other by more"
    rest = more if others else ""
    return f"{opening}: the found cell is ahead of {words} by {lead} ({pair}){rest}."


def _origin(run: Run) -> Iterator[str]:
    """Which cell won the halving, and what that says of the search."""
    if run.halving is None:
        return
    last = {
        cell.origin: cell.validation[-1].accuracy for cell in run.halving.cells if cell.validation
    }
    winner, own = run.halving.winner, last.get("searched")
    reached = percent(last.get(winner), 1)
    dense = _dense(run)
    if winner in PUBLISHED:
        yield (
            f"The found cell is a published one, {winner}: of {len(last)} cells it was the best on "
            f"half B ({reached}; the searched cell left with {percent(own, 1)}). "
            f"dots train {winner}{DENSE if dense else ''} DATA would have trained it without a "
            "search."
        )
    elif winner.startswith("random"):
        yield (
            f"The found cell is a random one: of {len(last)} cells it was the best on half B "
            f"({reached}; the searched cell left with {percent(own, 1)})."
        )
    else:
        kind = "the searched one" if winner == "searched" else f"{winner}, named by the search"
        yield f"The found cell is {kind}: of {len(last)} cells the best on half B ({reached})."
    if dense:
        yield (
            "All cells competed and were trained in their dense form, with 3×3 convolutions of all "
            "channels in place of depthwise separable ones."
        )


def _dense(run: Run) -> bool:
    """Whether its cells, found and compared, have dense convolutions for separable ones."""
    limits = ("max_parameters", "max_multiply_adds", "latency_target")
    limited = any(run.setting(f"budget.{limit}") is not None for limit in limits)
    return run.setting("halving.dense") is True and not limited


def _at_equal_time(run: Run, cells: Mapping[str, Trained]) -> Iterator[str]:
    """What the published cell had, against what the found one took."""
    if "published" not in cells or run.result is None:
        return
    own = [run.result.search_seconds, run.result.train_seconds]
    if None in own:
        return
    spent = duration(sum(seconds or 0.0 for seconds in own))
    yield (
        f"The published cell was trained for {duration(cells['published'].train_seconds)}, with "
        f"no search; search and training of the found cell took {spent}."
    )


def _unsearched(trained: TrainedNetwork, cells: Mapping[str, Trained]) -> str:
    """The numbers of a run that only trained."""
    what = "a reference network" if trained.kind == "reference" else "a cell given to it"
    name = "" if trained.title == "Given cell" else f", {trained.title}"
    reached = percent(cells[FOUND].test_accuracy)
    text = f"This run did not search: it trained {what}{name}, to {reached}"
    if "random" not in cells:
        return f"{text}."
    gap = _accuracy(cells[FOUND]) - _accuracy(cells["random"])
    return f"{text}; the random cell reached {percent(_accuracy(cells['random']))} ({points(gap)})."


def _remarks(
    cells: Mapping[str, Trained], count: int | None, trained: TrainedNetwork
) -> Iterator[str]:
    found = cells[FOUND]
    if "random" in cells:
        yield from _chance(_accuracy(found), _accuracy(cells["random"]), count)
        yield (
            "Each cell was trained once, from one seed: there is no spread to judge a difference "
            'by. Runs with other seeds give one; "dots report RUN RUN ..." compares them.'
        )
        yield from _size(found, cells["random"], trained)
    if "darts-policy" in cells:
        gap = _accuracy(found) - _accuracy(cells["darts-policy"])
        yield (
            f"With the topology search against the DARTS policy on the same operation search: "
            f"{points(gap)}{_images(gap, count)}."
        )


def _chance(found: float, random: float, count: int | None) -> Iterator[str]:
    if count is None:
        return
    low, high = difference(found, random, count)
    inside = (
        "The interval includes zero: the difference may be nothing but chance."
        if low <= 0 <= high
        else "The interval does not include zero."
    )
    yield (
        f"With {count} test images, the choice of images alone leaves the difference anywhere "
        f"from {points(low)} to {points(high)} (95 % interval). {inside}"
    )


def _size(found: Trained, random: Trained, trained: TrainedNetwork) -> Iterator[str]:
    if not found.parameters or not random.parameters:
        return
    ratio = found.parameters / random.parameters
    if abs(ratio - 1) >= 0.05:
        word = "more" if ratio > 1 else "fewer"
        yield (
            f"The two are not of one size: {trained.words} has {abs(ratio - 1):.0%} {word} "
            f"parameters than the random one."
        ).replace("%", " %")


def _intervals(
    cells: Mapping[str, Trained], count: int | None, trained: TrainedNetwork
) -> Markup | None:
    if count is None:
        return None
    estimates = []
    for style, (name, numbers) in enumerate(cells.items()):
        accuracy = min(1.0, max(0.0, _accuracy(numbers)))
        low, high = wilson(accuracy, count)
        label = trained.title_of(name).removesuffix(" cell")
        estimates.append(Estimate(label, accuracy, low, high, style % 6))
    return interval_chart(estimates, "Test accuracy with 95 % interval")


def _scatters(run: Run, cells: Mapping[str, Trained], trained: TrainedNetwork) -> Iterator[Markup]:
    for key, title in (("parameters", "parameters"), ("multiply_adds", "multiply-adds")):
        values = {name: getattr(numbers, key) for name, numbers in cells.items()}
        if any(value is None for value in values.values()):
            continue
        unit, letter = unit_of(max(values.values()))
        dots = [
            Dot(
                trained.title_of(name).removesuffix(" cell"),
                values[name] / unit,
                _accuracy(c),
                s % 6,
            )
            for s, (name, c) in enumerate(cells.items())
        ]
        label = f"{title} in {letter}" if letter else title
        known = run.sizes.networks if run.sizes is not None else ()
        rug = [getattr(one, key) / unit for one in known]
        yield scatter_chart(dots, f"Accuracy against {title}", label, rug)


def unit_of(largest: float) -> tuple[float, str]:
    """The unit to write values up to `largest` in: its size and its name."""
    for size, name in ((1e9, "billions"), (1e6, "millions"), (1e3, "thousands")):
        if largest >= size:
            return size, name
    return 1.0, ""


_KINDS = {"cell": "zoo cell, not trained here", "reference": "reference network, not trained here"}


def sizes(run: Run) -> list[tuple[str, str, Trained | KnownSize, bool]]:
    """Networks by rising parameters: name, what it is, its costs, and whether the run trained it.

    Empty where sizes.json is not there.
    """
    if run.sizes is None or not run.sizes.networks:
        return []
    trained = trained_network(run)
    rows: list[tuple[str, str, Trained | KnownSize, bool]] = [
        (trained.title_of(name), f"trained here, {percent(cell.test_accuracy)}", cell, True)
        for name, cell in trained_cells(run).items()
        if cell.parameters is not None and cell.test_accuracy is not None
    ]
    rows += [(visible(one.name), _KINDS[one.kind], one, False) for one in run.sizes.networks]
    return sorted(rows, key=lambda row: row[2].parameters or 0)
