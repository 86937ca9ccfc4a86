"""What a study is asked to do: kept in its directory, so that it can be continued."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from dots.common.errors import UserError
from dots.nas.plan import make_plan
from dots.recipe import Recipe, recipe_from_json
from dots.recipe.settings import HalvingSettings
from dots.runs.launch import Machine
from dots.space.search_space import SearchSpace, named_space
from dots.zoo.nasbench201 import Truth


@dataclass(frozen=True)
class Options:
    """A study's data, settings and seeds.

    `data` as a path or name; `recipe` is every trial's but for what the study varies.
    `strategies` are compared by a study that compares them. With `table` cells are looked up
    in its `column` (None: the first) and not trained. `train_seeds` trainings of one cell,
    and `random_cells` random cells, where a study asks for them.
    """

    data: str
    recipe: Recipe
    seeds: tuple[int, ...]
    strategies: tuple[str, ...] = ()
    table: str | None = None
    column: str | None = None
    train_seeds: int = 3
    random_cells: int = 10
    machine: Machine = field(default_factory=Machine)

    @cached_property
    def space(self) -> SearchSpace:
        """The search space of all trials."""
        return named_space(self.recipe.space, self.recipe.nodes)

    @cached_property
    def truth(self) -> Truth | None:
        """The table, read once; None where cells are trained. Raises UserError."""
        return Truth.load(Path(self.table), self.space) if self.table else None

    @property
    def true_column(self) -> str:
        """The column that cells are compared by. Raises UserError for an unknown one."""
        assert self.truth is not None
        table = self.truth.table
        column = self.column or table.columns[0]
        table.accuracies(column)  # for its error
        return column

    def check(self) -> None:
        """Raise UserError for what can be seen to be wrong before any trial."""
        if not self.seeds:
            raise UserError("no seeds: give at least one, as in --seeds 0,1,2")
        if len(set(self.seeds)) < len(self.seeds):
            raise UserError("--seeds names a seed twice")
        if self.train_seeds < 1 or self.random_cells < 1:
            raise UserError("--train-seeds and --random-cells must be at least 1")
        if self.truth is not None:
            _ = self.true_column
        elif self.column is not None:
            raise UserError("--column is a column of the --table: give that too")

    def check_strategy(self) -> None:
        """Raise UserError where the recipe's own strategy does not fit its space."""
        make_plan(self.recipe)

    def seeded(self, seed: int, **changes: Any) -> Recipe:
        """The recipe with a seed and other top-level settings changed, for the method alone.

        Without baselines, and without a halving that would take another cell than was searched.
        """
        settings = {"seed": seed, "baselines": (), "halving": HalvingSettings(), **changes}
        return recipe_from_json(self.recipe.model_copy(update=settings).to_json())

    def to_json(self) -> dict[str, Any]:
        """The options as JSON values."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**values, "recipe": self.recipe.to_json(), "machine": vars(self.machine)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Options:
        """The inverse of `to_json`. Raises UserError for anything else."""
        try:
            return cls(
                **{
                    **value,
                    "recipe": recipe_from_json(value["recipe"]),
                    "seeds": tuple(value["seeds"]),
                    "strategies": tuple(value["strategies"]),
                    "machine": Machine.from_json(value["machine"]),
                }
            )
        except (TypeError, KeyError):
            raise UserError("the options of the study are damaged: start a new one") from None

    def on(self, machine: Machine) -> Options:
        """The same, to be done on another machine."""
        return replace(self, machine=machine)
