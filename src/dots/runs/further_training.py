"""Training on: more epochs for a training that has ended, or from another run's network.

The training goes on from its last checkpoint on the schedule of the longer training: the
learning rate and the drop path of epoch e are those that e has among all epochs, old and new.
It is not the training that so many epochs would have been from the start, whose rate falls more
slowly. The found cell and its baselines get the same epochs; the test is taken anew, and the
old result kept beside the new one.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from dots.common.errors import UserError
from dots.common.files import write_bytes
from dots.common.records import EXTENSIONS, RESULT, TEST
from dots.networks.saved import TrainedModel, load_model
from dots.networks.specification import CellNetworkSpec, NetworkSpec, network_spec_of
from dots.recipe import Recipe
from dots.runs.directory import RunDirectory
from dots.space.search_space import SearchSpace

KEPT = ("test_accuracy", "test_top5", "balanced_accuracy", "test_loss", "train_seconds")


def extended(recipe: Recipe, kind: str, epochs: int) -> Recipe:
    """The recipe with so many more epochs of training. Raises UserError for a search alone."""
    if kind not in ("run", "train"):
        raise UserError("--extend adds epochs to a training: this run is a search only")
    lengths = {name: getattr(recipe.train, name) for name in ("epochs", "published_epochs")}
    longer = {name: length and length + epochs for name, length in lengths.items()}
    train = recipe.train.model_copy(update=longer)
    return recipe.model_copy(update={"train": train})


def reopen(run: RunDirectory) -> None:
    """Forget the tests, so that the stages go on, and keep what they found.

    To be called before the recipe is changed: a run that dies in between is tested again.
    """
    if run.has(TEST) and run.has(RESULT):
        result = run.read_object(RESULT)
        entry = {"epochs": run.recipe.train.epochs, **{name: result.get(name) for name in KEPT}}
        before = earlier(run)
        if entry not in before:
            run.write_json(EXTENSIONS, [*before, entry])
    for path in (run.path / TEST, *run.path.glob("test-*.json")):
        path.unlink(missing_ok=True)


def earlier(run: RunDirectory) -> list[dict[str, Any]]:
    """The results before each extension, oldest first. Raises UserError for a damaged file."""
    if not run.has(EXTENSIONS):
        return []
    entries = run.read_json(EXTENSIONS)
    try:
        return [{name: _number(entry[name]) for name in ("epochs", *KEPT)} for entry in entries]
    except (KeyError, TypeError, ValueError):
        where = str(run.path / EXTENSIONS)
        raise UserError(f"{where!r} is damaged: expected earlier results of the run") from None


def _number(value: Any) -> float | int | None:
    if value is None or (isinstance(value, int | float) and math.isfinite(value)):
        return value
    raise ValueError


INITIAL = "initial.safetensors"
"""In a run that began so: what it began with, so that it can be continued without the other."""

_NEW = ("classifier.", "body.classifier.", "auxiliary.")


def begin_with(run: RunDirectory, network: nn.Module) -> None:
    """Let the training of the run begin with this network's weights."""
    write_bytes(run.path / INITIAL, _weights(network))


def _weights(network: nn.Module, without: tuple[str, ...] = ()) -> bytes:
    """All but those whose names begin so, in the safetensors format."""
    from safetensors.torch import save

    return save(
        {
            name: value.contiguous().cpu()
            for name, value in network.state_dict().items()
            if not name.startswith(without)
        }
    )


def source(run: Path, space: SearchSpace | None = None) -> CellNetworkSpec:
    """What the trained network of a run was built from.

    Raises UserError where there is none, or it is none of a cell.
    """
    network_spec = _network_spec(load_model(RunDirectory.read(run).path, space=space))
    if not isinstance(network_spec, CellNetworkSpec):
        raise UserError(f"--from-weights: the network of {str(run)!r} is none of a cell")
    return network_spec


def settings(network_spec: CellNetworkSpec) -> dict[str, object]:
    """The settings that a recipe needs for a network of the same size."""
    shape = network_spec.shape
    return {"train.cells": shape.cells, "train.channels": shape.channels, "train.stem": shape.stem}


def backbone(run: Path, network_spec: NetworkSpec) -> bytes:
    """The weights of a run's network but for the classifier, in the safetensors format.

    Raises UserError where `network_spec`, which is to begin with them, is of another size.
    """
    space = None
    if isinstance(network_spec, CellNetworkSpec):
        space = network_spec.genotype.search_space
    trained = load_model(RunDirectory.read(run).path, space=space)
    _check_fits(_network_spec(trained), network_spec, run)
    return _weights(trained.network, without=_NEW)


def _network_spec(trained: TrainedModel) -> NetworkSpec:
    info, network = trained.info, trained.network
    return network_spec_of(network, len(info.classes), info.channels, info.image_size)  # type: ignore[arg-type]  # load_model builds no other


def _check_fits(old: NetworkSpec, new: NetworkSpec, run: Path) -> None:
    if not isinstance(old, CellNetworkSpec) or not isinstance(new, CellNetworkSpec):
        raise UserError(f"--from-weights: the network of {str(run)!r} is none of a cell")
    for name in ("image_channels", "cells", "channels", "stem"):
        before, now = getattr(old.shape, name), getattr(new.shape, name)
        if before != now:
            what = name.replace("_", " ")
            raise UserError(
                f"--from-weights: the {what} of the network in {str(run)!r} are {before}, "
                f"those of this training would be {now}"
            )
    if new != replace(old, shape=new.shape):
        raise UserError(f"--from-weights: the network in {str(run)!r} is of another cell")


def start_from(network: nn.Module, path: Path) -> None:
    """Give a network the weights in `path`, all but the classifier's.

    Raises UserError where they are damaged or of another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        result = network.load_state_dict(load(path.read_bytes()), strict=False)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise UserError(f"{str(path)!r} is damaged: {error}") from None
    if result.unexpected_keys or not all(key.startswith(_NEW) for key in result.missing_keys):
        raise UserError(f"{str(path)!r} holds the weights of another network")
