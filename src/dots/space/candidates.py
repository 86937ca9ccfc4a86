"""candidates.json: what the operation search hands to the topology search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dots.common.errors import UserError, did_you_mean, shown
from dots.common.files import read_json
from dots.common.records import Candidates as CandidateRecord
from dots.space.retain import RETAIN_SCHEMES, Scores, retain
from dots.space.search_space import ZERO, Candidates, SearchSpace

VERSION = 1


@dataclass(frozen=True)
class CandidateFile:
    """The operations kept on each edge, and the scores they were kept by, where known."""

    candidates: Candidates
    scores: Scores | None


def to_record(
    space: SearchSpace, strategy: str, scheme: str, scores: Scores, candidates: Candidates
) -> CandidateRecord:
    """The content of candidates.json."""
    return CandidateRecord(
        version=VERSION,
        space=space.name,
        nodes=space.cell.nodes,
        strategy=strategy,
        retain=scheme,
        operations=space.operations,
        scores={kind: [list(row) for row in scores[kind]] for kind in space.kinds},
        candidates={kind: [list(names) for names in candidates[kind]] for kind in space.kinds},
    )


def read_candidates(path: Path, space: SearchSpace, scheme: str) -> CandidateFile:
    """Read candidates.json, or anyone's scores: kind -> edge -> operation -> number.

    In a plain score file each edge is an object from operation names to numbers, or a list
    of numbers in the order of the space's operations; operations are then kept by `scheme`.
    Raises UserError for a file that does not fit the space.
    """
    value = read_json(path, what="candidates.json or scores for each cell kind, edge, operation")
    where = repr(str(path))
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected an object with {' and '.join(space.kinds)}")
    if "candidates" in value:
        return _ours(value, space, where)
    scores = _scores(value, space, where)
    if scheme not in RETAIN_SCHEMES:
        raise UserError(f"unknown retention {scheme!r}: choose {', '.join(RETAIN_SCHEMES)}")
    return CandidateFile(retain(space, scores, scheme), scores)


def _ours(value: Mapping[str, Any], space: SearchSpace, where: str) -> CandidateFile:
    version = value.get("version", VERSION)
    if version != VERSION or isinstance(version, bool):
        raise UserError(f"{where}: version {shown(version)} is not {VERSION}")
    if value.get("space", space.name) != space.name:
        raise UserError(
            f"{where} is for the space {shown(value['space'])}, the recipe for {space.name!r}: "
            "set space to match"
        )
    kinds = _kinds(value["candidates"], space, f"{where}, candidates")
    candidates = {}
    for kind, edges in kinds.items():
        candidates[kind] = tuple(
            _names(names, space, f"{where}, {kind} edge {index}")
            for index, names in enumerate(edges)
        )
    scores = value.get("scores")
    return CandidateFile(candidates, None if scores is None else _scores(scores, space, where))


def _names(names: Any, space: SearchSpace, where: str) -> tuple[str, ...]:
    if not isinstance(names, list) or not names:
        raise UserError(f"{where}: expected a list of operations, at least one")
    for name in names:
        if name not in space.operations:
            remedy = did_you_mean(name, space.operations)
            raise UserError(f"{where}: unknown operation {shown(name)}: {remedy}")
    if len(set(names)) < len(names):
        raise UserError(f"{where}: an operation stands there twice")
    if all(name == ZERO for name in names):
        raise UserError(f"{where}: only {ZERO!r} is left: keep another operation beside it")
    return tuple(names)


def _scores(value: Any, space: SearchSpace, where: str) -> Scores:
    kinds = _kinds(value, space, where)
    return {
        kind: [_row(row, space, f"{where}, {kind} edge {index}") for index, row in enumerate(edges)]
        for kind, edges in kinds.items()
    }


def _kinds(value: Any, space: SearchSpace, where: str) -> dict[str, list[Any]]:
    count = len(space.cell.edges)
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected an object with {' and '.join(space.kinds)}")
    for kind in space.kinds:
        edges = value.get(kind)
        if not isinstance(edges, list) or len(edges) != count:
            found = f"{len(edges)} edges" if isinstance(edges, list) else shown(edges)
            raise UserError(
                f"{where}: expected a list of {count} edges for the {kind} cell, found {found}"
            )
    return {kind: value[kind] for kind in space.kinds}


def _row(row: Any, space: SearchSpace, where: str) -> list[float]:
    if isinstance(row, dict):
        for name in row:
            if name not in space.operations:
                remedy = did_you_mean(name, space.operations)
                raise UserError(f"{where}: unknown operation {shown(name)}: {remedy}")
        missing = [op for op in space.operations if op not in row and op != ZERO]
        if missing:
            raise UserError(f"{where}: no score for {', '.join(missing)}")
        lowest = min((v for v in row.values() if _is_number(v)), default=0.0)
        row = [row.get(op, lowest - 1) for op in space.operations]  # a space without Zero
    if not isinstance(row, list) or len(row) != len(space.operations):
        raise UserError(
            f"{where}: expected {len(space.operations)} numbers, in the order "
            f"{', '.join(space.operations)}"
        )
    for number in row:
        if not _is_number(number):
            raise UserError(f"{where}: {shown(number)} is not a finite number")
    return [float(number) for number in row]


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e300 and math.isfinite(value)
