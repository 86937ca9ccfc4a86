"""From rows to the numbers of a table, and from those to Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dots.runs.progress import duration
from dots.study.options import Options
from dots.study.statistics import Summary, summarise

Row = dict[str, Any]
Line = dict[str, Any]

_SUMMARISED = ("accuracy", "seconds", "cpu_seconds", "parameters", "skips", "edges")
_HEADINGS = {"topology_search": "TS", "retained": "#op"}


def summaries(rows: Sequence[Row], keys: Sequence[str]) -> list[Line]:
    """A line for each group of rows, in order of appearance.

    It has the labels `keys`, "count" of judged rows and of "failed" ones, and for each
    summarised column a Summary as JSON (accuracies as fractions), or null.
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    lines = []
    for values, members in groups.items():
        judged = [row for row in members if row["error"] is None]
        line: Line = dict(zip(keys, values, strict=True))
        line |= {"count": len(judged), "failed": len(members) - len(judged)}
        for column in _SUMMARISED:
            found = summarise([row[column] for row in judged if row[column] is not None])
            line[column] = found.to_json() if found else None
        lines.append(line)
    return lines


def comparison(label: str, pairs: Sequence[tuple[float, float]]) -> Line:
    """How much the first of each pair is better: its Summary, and how often it is better."""
    differences = [first - second for first, second in pairs]
    found = summarise(differences)
    return {
        "label": label,
        "pairs": len(pairs),
        "wins": sum(difference > 0 for difference in differences),
        "ties": sum(difference == 0 for difference in differences),
        "difference": found.to_json() if found else None,
    }


def paired(
    rows: Sequence[Row], first: Mapping[str, Any], second: Mapping[str, Any]
) -> list[tuple[float, float]]:
    """The accuracies of two groups, seed by seed, for the seeds that both have."""
    one, other = _by_seed(rows, first), _by_seed(rows, second)
    return [(one[seed], other[seed]) for seed in one if seed in other]


def _by_seed(rows: Sequence[Row], labels: Mapping[str, Any]) -> dict[int, float]:
    chosen = (row for row in rows if all(row[key] == value for key, value in labels.items()))
    return {row["seed"]: row["accuracy"] for row in chosen if row["accuracy"] is not None}


def accuracies(rows: Sequence[Row], line: Line, keys: Sequence[str]) -> list[float]:
    """The accuracies of the rows that a line summarises."""
    members = (row for row in rows if all(row[key] == line[key] for key in keys))
    return [row["accuracy"] for row in members if row["accuracy"] is not None]


def label(line: Mapping[str, Any], keys: Sequence[str]) -> str:
    """The labels of a line as one text."""
    return ", ".join(
        str(line[key])
        for key in keys
        if line[key] is not None and not isinstance(line[key], bool | int)
    )


def markdown(header: Sequence[str], body: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; all columns but the first `left` are aligned to the right."""
    rule = [" --- "] * left + [" ---: "] * (len(header) - left)
    rows = ["| " + " | ".join(header) + " |", "|" + "|".join(rule) + "|"]
    rows += ["| " + " | ".join(_escaped(cell) for cell in row) + " |" for row in body]
    return "\n".join(rows)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")


def markdown_of_summaries(table: Sequence[Line], keys: Sequence[str]) -> str:
    """The main table: accuracies in percent, mean ± standard deviation over seeds."""
    header = [_HEADINGS.get(key, key) for key in keys]
    header += ["accuracy %", "95 % interval", "best", "search time", "CPU time"]
    header += ["parameters", "skips", "edges", "seeds"]
    body = []
    for line in table:
        accuracy = line["accuracy"]
        body.append(
            [
                *(_shown(line[key]) for key in keys),
                spread(accuracy, 100, 2),
                interval(accuracy, 100, 2),
                f"{100 * accuracy['best']:.2f}" if accuracy else "–",
                *(
                    duration(line[column]["mean"]) if line[column] else "–"
                    for column in ("seconds", "cpu_seconds")
                ),
                f"{line['parameters']['mean'] / 1e6:.3f} M" if line["parameters"] else "–",
                f"{line['skips']['mean']:.1f}" if line["skips"] else "–",
                f"{line['edges']['mean']:.1f}" if line["edges"] else "–",
                f"{line['count']}" + (f" (+{line['failed']} failed)" if line["failed"] else ""),
            ]
        )
    return markdown(header, body, left=len(keys))


def markdown_of_references(references: Mapping[str, float]) -> str:
    """What the accuracies are to be compared with."""
    body = [[name, f"{100 * accuracy:.2f}"] for name, accuracy in references.items()]
    return markdown(["for comparison", "accuracy %"], body)


def markdown_of_comparisons(compared: Sequence[Line]) -> str:
    """Differences in percentage points, seed by seed."""
    body = [
        [
            line["label"],
            spread(line["difference"], 100, 2, sign=True),
            interval(line["difference"], 100, 2, sign=True),
            f"{line['wins']} of {line['pairs']}" + (f", {line['ties']} ties" * bool(line["ties"])),
        ]
        for line in compared
    ]
    return markdown(["difference", "percentage points", "95 % interval", "better"], body)


def markdown_of_failures(rows: Sequence[Row], keys: Sequence[str]) -> str:
    """Every row without a result, with its error; empty where there is none."""
    body = [
        [label(row, keys), str(row["seed"]), str(row["error"])]
        for row in rows
        if row["error"] is not None
    ]
    return markdown(["failed", "seed", "error"], body, left=3) if body else ""


def spread(found: Mapping[str, Any] | None, scale: float, digits: int, sign: bool = False) -> str:
    """Mean ± standard deviation; the mean alone of one value."""
    if found is None:
        return "–"
    plus = "+" if sign else ""
    text = f"{scale * found['mean']:{plus}.{digits}f}"
    if found["deviation"] is None:
        return text
    return f"{text} ± {scale * found['deviation']:.{digits}f}"


def interval(found: Mapping[str, Any] | None, scale: float, digits: int, sign: bool = False) -> str:
    """The bounds of the mean."""
    if found is None or found["low"] is None:
        return "–"
    plus = "+" if sign else ""
    low, high = (f"{scale * found[key]:{plus}.{digits}f}" for key in ("low", "high"))
    return f"{low} … {high}"


def _shown(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "✓" if value else "✗"
    return str(value)


def summary_of(rows: Sequence[Row], column: str) -> Summary | None:
    """The summary of a column of some rows, failed ones left out."""
    return summarise([row[column] for row in rows if row.get(column) is not None])


# Sec. 5.1: what published CIFAR accuracies were trained with.
_PAPER_EPOCHS, _PAPER_CHANNELS = 600, 36


def about(options: Options, rows: Sequence[Row]) -> Iterator[str]:
    """How accuracies were had, over how many seeds, and what is missing."""
    yield about_accuracy(options)
    yield about_search(options)
    yield about_seeds(options.seeds)
    yield from about_failures(rows)


def about_accuracy(options: Options) -> str:
    """Where accuracies come from."""
    if options.truth is not None:
        return (
            f"Accuracies are the benchmark's own, column {options.true_column}: each cell of "
            "NAS-Bench-201 was trained by its authors, so nothing is trained here."
        )
    train = options.recipe.train
    text = (
        f"Each cell's network ({train.cells} cells, {train.channels} channels) was trained from "
        f"scratch on {options.data} for {train.epochs} epoch{'s' * (train.epochs > 1)} and tested "
        "once, after the last."
    )
    if train.epochs < _PAPER_EPOCHS or train.channels < _PAPER_CHANNELS:
        text += (
            f" That is less than the paper's {_PAPER_EPOCHS} epochs and {_PAPER_CHANNELS} "
            "channels: the numbers compare with each other, not with published ones."
        )
    return text


def about_search(options: Options) -> str:
    """What the searches were."""
    recipe = options.recipe
    operations, topology = recipe.operations, recipe.topology
    return (
        f"Searches: preset {recipe.preset}, space {recipe.space}, data {options.data}, "
        f"{operations.epochs} + {topology.epochs} epochs, {operations.cells} and "
        f"{topology.cells} cells, {operations.channels} channels, one CPU thread or one GPU each."
    )


def about_seeds(seeds: Sequence[int]) -> str:
    """What the spread is a spread of."""
    named = ", ".join(map(str, seeds))
    if len(seeds) == 1:
        return f"One seed ({named}): nothing is known of the spread, and differences may be chance."
    return (
        f"Mean ± sample standard deviation over {len(seeds)} seeds ({named}); intervals are "
        "Student's t for the mean, 95 %. Where they overlap widely, the data do not tell the "
        "groups apart; with so few seeds an interval itself is rough."
    )


def about_failures(rows: Sequence[Row]) -> Iterator[str]:
    """How many rows have no result."""
    failed = sum(row["error"] is not None for row in rows)
    if failed:
        yield (
            f"{failed} of {len(rows)} rows have no result and are in no mean: their errors are "
            "listed with the table."
        )
