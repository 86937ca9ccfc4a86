"""What a run leaves for its readers: result.json, pictures, TensorBoard, the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from dots.common.errors import UserError
from dots.common.records import (
    EXTENSIONS,
    GENOTYPE,
    HALVING,
    POLICY_GENOTYPE,
    TEST,
    TRUTH,
    Picture,
    Result,
    Samples,
)
from dots.data import Batches, pngs
from dots.nas.successive_halving import epoch_seconds
from dots.recipe import TrainSettings
from dots.recipe.shares import SEARCHES
from dots.runs.directory import RunDirectory
from dots.runs.further_training import earlier
from dots.runs.metrics import write_board
from dots.runs.session import RunImages
from dots.space.genotype import Genotype
from dots.space.search_space import SearchSpace
from dots.training.evaluate import Mistake
from dots.zoo.nasbench201 import Truth

SHOWN = 16
"""How many augmented images the report shows."""

OUTCOME = (
    "test_accuracy",
    "test_top5",
    "balanced_accuracy",
    "test_loss",
    "test_images",
    "parameters",
    "multiply_adds",
)


def finish(
    run: RunDirectory, truth: Truth | None = None, space: SearchSpace | None = None
) -> dict[str, Any]:
    """Write everything that tells of the run as it stands; the content of result.json.

    `space` is the run's, where that is neither ours nor installed.
    """
    if truth is not None:
        files = {"truth": GENOTYPE, "truth_without_topology_search": POLICY_GENOTYPE}
        cells = {k: Genotype.load(run.path / f) for k, f in files.items() if run.has(f)}
        run.write_record(truth.describe(cells))
    record = Result.model_validate(collect_result(run))
    run.write_record(record)
    result = record.to_json()
    run.sync()
    if run.writes:
        from dots.report import write_report

        write_board(run.path / "tensorboard", run.recipe, result)
        write_report(run.path, space)
    return result


def collect_result(run: RunDirectory) -> dict[str, Any]:
    """The content of result.json, from what the stages left."""
    rows = run.metrics.rows()
    test = run.read_object(TEST) if run.has(TEST) else {}
    result: dict[str, Any] = _outcome(test) if test else dict.fromkeys(OUTCOME)
    result |= {name: test[name] for name in ("reference", "skeleton") if name in test}
    searched = [row for row in rows if row["stage"].startswith(SEARCHES)]
    result |= {
        "search_seconds": round(sum(map(epoch_seconds, searched)), 3),
        "search_cpu_seconds": _total(searched, "cpu_seconds"),
        "train_seconds": _total(_of_stage(rows, "train"), "seconds"),
        "seed": run.recipe.seed,
        "baselines": {},
        "notices": run.notices(),
    }
    if run.has(HALVING):
        result["origin"] = run.read_object(HALVING).get("winner")
    for name in run.recipe.baselines:
        if run.has(f"test-{name}.json"):
            content = run.read_object(f"test-{name}.json")
            entry = _outcome(content)
            entry["train_seconds"] = _total(_of_stage(rows, f"train-{name}"), "seconds")
            entry |= {key: content[key] for key in ("genotype", "reference") if key in content}
            result["baselines"][name] = entry
    if run.has(EXTENSIONS):
        result["before_extension"] = earlier(run)
    if run.has(TRUTH):
        result |= run.read_object(TRUTH)
    return result


def _outcome(content: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {name: content[name] for name in OUTCOME}
    except KeyError as error:
        raise UserError(
            f"a test of the run is damaged: it lacks {error}; delete test*.json of the run and "
            "resume: the test is done again"
        ) from None


Rows = Sequence[Mapping[str, Any]]


def _of_stage(rows: Rows, stage: str) -> Rows:
    return [row for row in rows if row["stage"] == stage]


def _total(rows: Rows, column: str) -> float:
    return round(sum(float(row[column]) for row in rows), 3)


def sample_pictures(
    images: RunImages, settings: TrainSettings, mistakes: Sequence[Mistake]
) -> Samples:
    """The content of samples.json: a batch as the network sees it, and the worst mistakes."""
    names = images.info.classes
    first = images.batches("train", "all", settings).batch(0, 0)
    pictures = pngs(first.images[:SHOWN], images.info)
    labels = first.labels[:SHOWN].tolist()
    augmented = [
        Picture(png=png, label=names[label]) for png, label in zip(pictures, labels, strict=True)
    ]
    wrong = [
        Picture(
            png=png,
            label=names[mistake.label],
            predicted=names[mistake.predicted],
            confidence=mistake.confidence,
            index=mistake.index,
        )
        for png, mistake in zip(_mistaken(images, mistakes), mistakes, strict=True)
    ]
    return Samples(augmented=augmented, mistakes=wrong)


def _mistaken(images: RunImages, mistakes: Sequence[Mistake]) -> list[str]:
    if not mistakes:
        return []
    rows = torch.tensor([mistake.index for mistake in mistakes])
    batch = Batches(  # all of them here: the other processes do not take part
        images.data.test,
        rows,
        len(rows),
        info=images.info,
        stream="mistakes",
        device=images.processes.device,
    ).batch(0, 0)
    return pngs(batch.images, images.info)
