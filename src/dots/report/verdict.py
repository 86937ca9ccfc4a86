"""Was the search worth it? The found cell beside the others, each trained the same way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from markupsafe import Markup

from dots.common.records import Trained
from dots.report.charts.points import Dot, Estimate, interval_chart, scatter_chart
from dots.report.intervals import difference, wilson
from dots.report.reading import FOUND, Run
from dots.report.trained_network import Subject, subject
from dots.report.wording import BASELINES, amount, duration, percent, points, visible
from dots.zoo import PUBLISHED


@dataclass(frozen=True)
class Row:
    """A trained cell in the table: its numbers as text, and its lead over the found cell."""

    name: str
    accuracy: str
    ahead: str
    top5: str
    balanced: str
    parameters: str
    multiply_adds: str
    seconds: str


@dataclass(frozen=True)
class Competitor:
    """A cell of the successive halving as text, and whether it won."""

    origin: str
    epochs: int
    validation: str
    seconds: str
    won: bool


@dataclass(frozen=True)
class Worth:
    """The verdict in a sentence, what to hold against it, the table and the figures."""

    searched: bool
    verdict: str
    remarks: tuple[str, ...]
    rows: tuple[Row, ...]
    halving: tuple[Competitor, ...]
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


def worth(run: Run) -> Worth | None:
    """The comparison, or None where no cell was tested."""
    cells = trained_cells(run)
    if not cells or cells[FOUND].test_accuracy is None:
        return None
    count = test_images(run)
    tested = {name: c for name, c in cells.items() if c.test_accuracy is not None}
    trained = subject(run)
    return Worth(
        searched=trained.kind == "found",
        verdict=_verdict(tested, count)
        if trained.kind == "found"
        else _unsearched(trained, tested),
        remarks=(*_origin(run), *_at_equal_time(run, tested), *_remarks(tested, count, trained)),
        rows=tuple(
            _row(trained.title_of(name), name, numbers, cells[FOUND])
            for name, numbers in cells.items()
        ),
        halving=tuple(_competitors(run)),
        intervals=_intervals(tested, count, trained),
        scatters=tuple(_scatters(run, tested, trained)) if len(tested) > 1 or run.sizes else (),
    )


def _row(title: str, name: str, numbers: Trained, found: Trained) -> Row:
    ahead = ""
    if name != FOUND and numbers.test_accuracy is not None and found.test_accuracy is not None:
        ahead = points(numbers.test_accuracy - found.test_accuracy)
    return Row(
        name=title,
        accuracy=percent(numbers.test_accuracy),
        ahead=ahead,
        top5=percent(numbers.test_top5),
        balanced=percent(numbers.balanced_accuracy),
        parameters=amount(numbers.parameters),
        multiply_adds=amount(numbers.multiply_adds),
        seconds=duration(numbers.train_seconds),
    )


def _competitors(run: Run) -> Iterator[Competitor]:
    """Who got furthest first."""
    halving = run.halving
    if halving is None:
        return
    rounds = sorted(
        halving.cells,
        key=lambda cell: (-len(cell.validation), *(-v.accuracy for v in cell.validation[-1:])),
    )
    for cell in sorted(rounds, key=lambda cell: cell.origin != halving.winner):
        yield Competitor(
            visible(cell.origin),
            cell.epochs,
            ", ".join(percent(value.accuracy, 1) for value in cell.validation),
            duration(cell.seconds),
            cell.origin == halving.winner,
        )


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


def _verdict(cells: Mapping[str, Trained], count: int | None) -> str:
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
    if winner in PUBLISHED:
        yield (
            f"The found cell is a published one, {winner}: of {len(last)} cells it was the best on "
            f"half B ({reached}; the searched cell left with {percent(own, 1)}). "
            f"dots train {winner} DATA would have trained it without a search."
        )
    elif winner.startswith("random"):
        yield (
            f"The found cell is a random one: of {len(last)} cells it was the best on half B "
            f"({reached}; the searched cell left with {percent(own, 1)})."
        )
    else:
        kind = "the searched one" if winner == "searched" else f"{winner}, named by the search"
        yield f"The found cell is {kind}: of {len(last)} cells the best on half B ({reached})."


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


def _unsearched(trained: Subject, cells: Mapping[str, Trained]) -> str:
    """The numbers of a run that only trained."""
    what = "a reference network" if trained.kind == "reference" else "a cell given to it"
    name = "" if trained.title == "Given cell" else f", {trained.title}"
    reached = percent(cells[FOUND].test_accuracy)
    text = f"This run did not search: it trained {what}{name}, to {reached}"
    if "random" not in cells:
        return f"{text}."
    gap = _accuracy(cells[FOUND]) - _accuracy(cells["random"])
    return f"{text}; the random cell reached {percent(_accuracy(cells['random']))} ({points(gap)})."


def _remarks(cells: Mapping[str, Trained], count: int | None, trained: Subject) -> Iterator[str]:
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


def _size(found: Trained, random: Trained, trained: Subject) -> Iterator[str]:
    if not found.parameters or not random.parameters:
        return
    ratio = found.parameters / random.parameters
    if abs(ratio - 1) >= 0.05:
        word = "more" if ratio > 1 else "fewer"
        yield (
            f"The two are not of one size: {trained.words} has {abs(ratio - 1):.0%} {word} "
            f"parameters than the random one."
        ).replace("%", " %")


def _intervals(cells: Mapping[str, Trained], count: int | None, trained: Subject) -> Markup | None:
    if count is None:
        return None
    estimates = []
    for style, (name, numbers) in enumerate(cells.items()):
        accuracy = min(1.0, max(0.0, _accuracy(numbers)))
        low, high = wilson(accuracy, count)
        label = trained.title_of(name).removesuffix(" cell")
        estimates.append(Estimate(label, accuracy, low, high, style % 6))
    return interval_chart(estimates, "Test accuracy with 95 % interval")


def _scatters(run: Run, cells: Mapping[str, Trained], trained: Subject) -> Iterator[Markup]:
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
