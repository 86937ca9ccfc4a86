"""Which settings of the search find the best cell? Judged on half B of the training images."""

import json
import sys
from pathlib import Path
from typing import Any

import optuna

import dots


def objective(trial: optuna.Trial, data: str, folder: Path) -> float:
    """The accuracy on half B of the cell that a search with the trial's settings finds."""
    settings = [
        f"operations.arch_lr={trial.suggest_float('arch_lr', 1e-4, 1e-2, log=True)}",
        f"topology.edges={trial.suggest_categorical('edges', ['pairs', 'any'])}",
        "halving.cells=2",  # the searched cell and one other, trained on half A alone
    ]

    def prune(row: dict[str, Any]) -> None:
        if row["stage"] == "topology":
            trial.report(row["accuracy"], row["epoch"])
            if trial.should_prune():
                raise optuna.TrialPruned

    out = folder / f"trial-{trial.number}"
    dots.search(data, dots.build_recipe("tiny", overrides=settings), out=out, on_epoch=prune)
    cells = json.loads((out / "halving.json").read_text())["cells"]
    searched = next(cell for cell in cells if cell["origin"] == "searched")
    return float(searched["validation"][0]["accuracy"])


if __name__ == "__main__":
    data, folder, trials = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner(2))
    study.optimize(lambda trial: objective(trial, data, folder), n_trials=trials)
    print(study.best_params, study.best_value)
