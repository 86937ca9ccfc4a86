"""How β would have ranked topologies after each epoch of its search, while T fell (Eq. 9)."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence

from dots.space.edge_combinations import CombinationChoices, EdgeChoice
from dots.space.search_space import SearchSpace
from dots.study import lines
from dots.study.base import Row
from dots.study.ratings import NodeRating, rating_by
from dots.study.trial import Json

CORRELATIONS = ("tau", "tau_equal_size")


def rating_after(space: SearchSpace, entry: Json, edges: EdgeChoice, kind: str) -> NodeRating:
    """Log-probability of a node's combination (Eq. 6), from an epoch of a search's history.

    A probability that has underflown counts as the smallest number, so that it still has a
    logarithm: combinations that have lost for good are rated alike.
    """
    tiny = sys.float_info.min
    logarithms = [[math.log(max(p, tiny)) for p in node] for node in entry["beta"][kind]]
    return rating_by(space, CombinationChoices(edges), logarithms, 1.0)


def markdown(rows: Sequence[Row], columns: Mapping[str, tuple[str, float, int]]) -> str | None:
    """A table with a line for each epoch, means over the rows; None where no row has epochs.

    Its columns are those of `columns` (heading, scale, digits) that are correlations.
    """
    shown = {name: columns[name] for name in CORRELATIONS if name in columns}
    members = [row["by_epoch"] for row in rows if row.get("by_epoch")]
    if not members:
        return None
    body = []
    for entries in zip(*members, strict=True):
        line = [str(entries[0]["epoch"] + 1), f"{entries[0]['temperature']:.3g}"]
        for name, (_, scale, digits) in shown.items():
            found = lines.summary_of(entries, name)
            line.append(lines.spread(found.to_json() if found else None, scale, digits))
        body.append(line)
    headings = [heading for heading, _, _ in shown.values()]
    return lines.markdown(["epoch of the topology search", "T", *headings], body)
