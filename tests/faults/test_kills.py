"""SIGKILL at any moment: the run goes on and ends as an undisturbed one, bit for bit."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from helpers.killing import QUICKEST, End, Killer
from helpers.run_equality import differing


def go_on(
    killer: Killer, out: Path, after: float | None = None, at: tuple[str, int] | None = None
) -> End:
    """Resume, or begin (again) where the run had not become one."""
    if (out / "recipe.json").exists():
        return killer.run("run", "--resume", str(out), "--quiet", after=after, at=at)
    return killer.run("run", "digits", "--out", str(out), *QUICKEST, after=after, at=at)


def check(end: End, one: Path, other: Path) -> None:
    assert end.status == 0, end.said
    assert differing(one, other) == []
    assert (other / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    "at",
    [("replace", 5), pytest.param(("fsync", 30), marks=pytest.mark.slow), ("report", 1)],
    ids=lambda at: f"{at[0]}-{at[1]}",
)
def test_killed_in_a_call(
    killer: Killer, undisturbed: tuple[Path, float], tmp_path: Path, at: tuple[str, int]
) -> None:
    out = tmp_path / "run"
    assert go_on(killer, out, at=at).status == -9
    check(go_on(killer, out), undisturbed[0], out)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_killed_at_a_random_moment(
    killer: Killer, undisturbed: tuple[Path, float], tmp_path: Path, seed: int
) -> None:
    """Every third run is killed again within a second of its resume, every fifth thrice."""
    draw, out = random.Random(seed), tmp_path / "run"
    moment = draw.uniform(0, undisturbed[1])
    ends = [go_on(killer, out, after=moment).status]
    if seed % 3 == 0:
        ends.append(go_on(killer, out, after=draw.uniform(0, 1)).status)
    if seed % 5 == 0:
        ends += [go_on(killer, out, after=draw.uniform(0, 2)).status for _ in range(2)]
    assert set(ends) <= {-9, 0}
    check(go_on(killer, out), undisturbed[0], out)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["replace", "fsync", "unlink", "write"])
def test_killed_again_and_again_in_one_kind_of_call(
    killer: Killer, undisturbed: tuple[Path, float], tmp_path: Path, name: str
) -> None:
    """Each attempt dies a little later into the work than the one before."""
    draw, out = random.Random(name), tmp_path / "run"
    for attempt in range(8):
        end = go_on(killer, out, at=(name, draw.randint(1, 12 + 4 * attempt)))
        if end.status == 0:
            break
        assert end.status == -9, end.said
    check(go_on(killer, out), undisturbed[0], out)
