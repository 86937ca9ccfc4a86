"""What a run is at a glance: its state, its accuracy, its cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dots.common.errors import UserError
from dots.common.records import DATA, LOCK, RECIPE, RESULT, Result
from dots.runs.directory import RunDirectory
from dots.runs.lock import is_held


@dataclass(frozen=True)
class RunSummary:
    """A run; what it does not know (yet) is None. The state is finished, running or interrupted,
    or "damaged: ..." with what is wrong. Accuracies are fractions of the test images.
    """

    name: str
    state: str
    data: str | None = None
    preset: str | None = None
    accuracy: float | None = None
    random_accuracy: float | None = None
    parameters: int | None = None
    cpu_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


def summaries(folder: Path) -> list[RunSummary]:
    """Every run in a folder, by name. Nothing in it is changed, or run."""
    found = sorted(path for path in folder.iterdir() if (path / RECIPE).is_file())
    return [summary(path) for path in found]


def summary(path: Path) -> RunSummary:
    """The run at `path`. What is damaged is said, not raised."""
    try:
        run = RunDirectory.read(path)
        name = run.read_object(DATA).get("name") if run.has(DATA) else None
        rows = run.metrics.rows()
        result = Result.read(path) if run.has(RESULT) else Result()
        ended = run.has(RESULT)
    except (UserError, OSError, ValueError) as error:
        return RunSummary(path.name, f"damaged: {error}")
    random = result.baselines.get("random")
    return RunSummary(
        name=path.name,
        state="running" if is_held(path / LOCK) else "finished" if ended else "interrupted",
        data=str(name) if name else None,
        preset=run.recipe.preset,
        accuracy=result.test_accuracy,
        random_accuracy=random.test_accuracy if random else None,
        parameters=result.parameters,
        cpu_seconds=sum(float(r.get("cpu_seconds") or 0.0) for r in rows) if rows else None,
    )
