"""A run that must end in time: epochs are cut to fit, before it begins and between its stages.

The schedules of a stage (learning rate, temperature) depend on its number of epochs, so that
is fixed when the stage begins. Before every later stage the time that is left is looked at
again, with how much faster or slower the stages so far were than planned: what was cut in vain
comes back. What was decided stands in recipe.json before the stage begins: a run that is resumed
decides nothing anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from dots.common.errors import UserError
from dots.nas.successive_halving import epoch_seconds
from dots.recipe import Recipe, differences, recipe_from_json
from dots.recipe.shares import STAGES, with_search_share, with_training_share
from dots.runs.planning.time_estimate import Counts, Part, Speed, parts
from dots.runs.progress import duration

MARGIN = 0.85
"""The share of the time that is planned: a busy machine, checkpoints, report need the rest."""
RESERVED = 0.5
"""The least share of it that the final training keeps, as far as it wants it."""

FEWEST = 0.5
"""The share of its epochs that the training keeps before a baseline is left out for it.

One that takes less than this share of the training's time stays: it would bring few epochs.
"""

PUBLISHED = "published"

_ATTEMPTS, _STEP = 120, 0.95

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "": 1}


def seconds_of(text: str) -> float:
    """ "2h", "90m", "1h30m", "45s" in seconds. Raises UserError for anything else."""
    pieces = re.findall(r"(\d+(?:\.\d+)?)\s*(min|[smhd])?", text.strip().lower())
    number = r"\d{1,9}(\.\d{1,9})?\s*"
    whole = re.fullmatch(rf"({number}(min|[smhd])\s*)*({number})?", text.strip().lower())
    total = sum(float(count) * _UNITS[unit] for count, unit in pieces)
    if not whole or total <= 0:
        raise UserError(f"--time-limit {text!r}: write a time as 45m, 2h or 1h30m")
    return total


@dataclass(frozen=True)
class TimeLimit:
    """The content of plan.json: the limit in seconds, and what was measured at the start.

    `wanted` is the recipe before it was cut, as JSON; none: what is cut stays so.
    """

    seconds: float
    kind: str
    candidates: bool
    counts: Counts
    speed: Speed
    wanted: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @staticmethod
    def from_json(value: Any, where: str) -> TimeLimit:
        """The inverse of to_json. Raises UserError, naming `where`, for anything else."""
        try:
            return TypeAdapter(TimeLimit).validate_python(value)
        except ValidationError:
            raise UserError(f"{where} is damaged: it does not say what was planned") from None

    def plan(self, recipe: Recipe, slower: float = 1.0) -> list[Part]:
        """The stages of the run, each `slower` times as long as measured."""
        made = parts(recipe, self.counts, self.speed, self.kind, candidates=self.candidates)
        return [replace(part, seconds=part.seconds * slower) for part in made]

    def fitted(self, recipe: Recipe) -> Recipe:
        """The recipe cut to the limit. Raises UserError where one epoch of each is too much."""
        return cut(recipe, self.plan(recipe), MARGIN * self.seconds, self._again, self.seconds)

    def _again(self, recipe: Recipe) -> list[Part]:
        return self.plan(recipe)

    def refitted(self, recipe: Recipe, rows: Sequence[dict[str, Any]], stage: str) -> Recipe:
        """The recipe with the stages from `stage` on as wanted, cut to what is left after `rows`.

        `rows` are the metrics so far. Where nothing fits any more, one epoch of each is left
        and the baselines are left out.
        """
        spent = sum(map(epoch_seconds, rows))
        done = {str(row["stage"]) for row in rows}
        planned = sum(part.seconds for part in self.plan(recipe) if part.name in done)
        slower = min(20.0, max(0.2, spent / planned)) if planned and spent else 1.0
        left = max(MARGIN * self.seconds - spent, (self.seconds - spent) / 2, 0.0)

        def remaining(of: Recipe) -> list[Part]:
            plan = self.plan(of, slower)
            names = [part.name for part in plan]
            return plan[names.index(stage if stage in names else "train") :]

        if self.wanted is not None:
            whole = recipe_from_json(self.wanted, "the plan of the run")
            names = STAGES[STAGES.index(stage) :]
            recipe = recipe.model_copy(update={name: getattr(whole, name) for name in names})
            compared = recipe.model_copy(update={"baselines": whole.baselines})
            if sum(part.seconds for part in remaining(compared)) <= left:
                return compared  # else a baseline would take of the time of the training
        return cut(recipe, remaining(recipe), left, remaining, None)


def recipe_changes(old: Recipe, new: Recipe) -> Iterator[str]:
    """What differs, for people; not how long a published baseline trains that is left out."""
    for name, before, after in differences(old, new):
        if name != "train.published_epochs" or PUBLISHED in new.baselines:
            yield f"{name} was {before}, is {after}"


def cut(
    recipe: Recipe,
    plan: Sequence[Part],
    usable: float,
    again: Any,
    limit: float | None,
) -> Recipe:
    """Cut epochs so that `plan`, the stages that are left, takes at most `usable` seconds.

    The training, baselines included, keeps its time or RESERVED of all, whichever is less,
    and more where the searches leave it; the searches are cut alike. `again` plans a cut
    recipe. The published baseline goes first, the others before the last epochs do.
    """
    total = sum(part.seconds for part in plan)
    if total <= usable:
        return recipe
    if PUBLISHED in recipe.baselines:  # it takes as long as all the rest
        return _without(PUBLISHED, recipe, usable, again, limit)
    search = sum(part.seconds for part in plan if not part.name.startswith("train"))
    train = total - search
    for_train = min(train, max(RESERVED * usable, usable - search))
    for_search = usable - for_train
    names = {part.name for part in plan}
    shares = (
        for_search / search if search > for_search else 1.0,
        for_train / train if train > for_train else 1.0,
    )
    if shares[1] < FEWEST and recipe.baselines:
        dearest = _dearest(recipe, plan)
        if _seconds(plan, dearest) >= FEWEST * _seconds(plan):
            return _without(dearest, recipe, usable, again, limit)
    shorter = recipe
    for attempt in range(_ATTEMPTS):  # a stage that keeps one epoch may take more than its share
        less = _STEP**attempt
        shorter = with_search_share(recipe, shares[0] * less, names) if search else recipe
        shorter = with_training_share(shorter, min(shares[1], 2 * less)) if train else shorter
        if sum(part.seconds for part in again(shorter)) <= usable:
            return shorter
    if recipe.baselines:
        return _without(_dearest(recipe, plan), recipe, usable, again, limit)
    if limit is None:
        return shorter
    least = sum(part.seconds for part in again(shorter)) / MARGIN
    raise UserError(
        f"--time-limit of {duration(limit)}: one epoch of each stage takes about "
        f"{duration(least)}: raise the limit, or take fewer images (data.limit, "
        "data.search_limit) or a smaller preset"
    )


def _dearest(recipe: Recipe, plan: Sequence[Part]) -> str:
    """The baseline that takes most of the plan's time."""
    return max(recipe.baselines, key=lambda name: _seconds(plan, name))


def _seconds(plan: Sequence[Part], baseline: str | None = None) -> float:
    """What the plan gives to the training of a baseline; None: of the found cell."""
    stage = "train" if baseline is None else f"train-{baseline}"
    return sum(part.seconds for part in plan if part.name == stage)


def _without(
    baseline: str, recipe: Recipe, usable: float, again: Any, limit: float | None
) -> Recipe:
    kept = tuple(name for name in recipe.baselines if name != baseline)
    fewer = recipe.model_copy(update={"baselines": kept})
    return cut(fewer, again(fewer), usable, again, limit)
