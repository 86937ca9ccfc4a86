"""The same under Ray Tune: trials side by side, the worse half stopped by ASHA."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler

import dots


def search(config: dict[str, Any]) -> None:
    """Report the supernet's accuracy after each epoch, and half B's of the cell at the end."""
    settings = [f"{name}={config[name]}" for name in ("operations.arch_lr", "topology.edges")]
    recipe = dots.build_recipe("tiny", overrides=[*settings, "halving.cells=2"])

    def report(row: dict[str, Any]) -> None:
        if row["stage"] == "topology":
            tune.report({"accuracy": row["accuracy"], "half_b": 0.0})

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        dots.search(config["data"], recipe, out=out, on_epoch=report)
        cells = json.loads((out / "halving.json").read_text())["cells"]
    searched = next(cell for cell in cells if cell["origin"] == "searched")
    accuracy = searched["validation"][0]["accuracy"]
    tune.report({"accuracy": accuracy, "half_b": accuracy})


if __name__ == "__main__":
    space = {
        "data": sys.argv[1],
        "operations.arch_lr": tune.loguniform(1e-4, 1e-2),
        "topology.edges": tune.choice(["pairs", "any"]),
    }
    config = tune.TuneConfig(
        num_samples=int(sys.argv[2]),
        scheduler=ASHAScheduler(metric="accuracy", mode="max", grace_period=2),
    )
    best = tune.Tuner(search, param_space=space, tune_config=config).fit()
    result = best.get_best_result(metric="half_b", mode="max")
    assert result.metrics is not None
    print(result.config, result.metrics["half_b"])
