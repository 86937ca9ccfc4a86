"""What a preset would cost on a data set that was checked: time of each stage, memory."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from dots.data import RESIDENT_BYTES
from dots.data.check import Facts
from dots.nas.plan import Plan, make_plan
from dots.recipe import Recipe
from dots.recipe.shares import fitted_to_images
from dots.runs.planning.memory_limit import shown_bytes, step_peak
from dots.runs.planning.time_estimate import Counts, Part, expected_counts, lines, measure, parts

MOST_NOISE = 0.015
"""Above it a search cannot choose: see `advice`."""


@dataclass(frozen=True)
class Forecast:
    """`image_bytes` of all decoded images, kept in memory if `resident`; `step_bytes` is the
    peak of a process that takes a step of every stage. `advice` says whether to search at all.
    """

    preset: str
    stages: tuple[Part, ...]
    image_bytes: int
    resident: bool
    step_bytes: int
    advice: str

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For people."""
        kept = "kept in memory" if self.resident else "streamed from disk"
        where = f"images take {shown_bytes(self.image_bytes)} decoded: {kept}"
        step = f"  a step takes {shown_bytes(self.step_bytes)}"
        return [*lines(self.stages), f"  {where}", step, f"advice: {self.advice}"]


def suggested_preset(facts: Facts, device: torch.device) -> str:
    """The largest preset that is patient on this device and has images enough."""
    if device.type == "cpu":
        return "quick"
    return "paper-cifar" if facts.parts["train"].images >= 30_000 else "small"


def forecast(facts: Facts, recipe: Recipe, device: torch.device) -> Forecast:
    """Measure a few steps of each stage, at the size of these images."""
    size = recipe.data.image_size or min(facts.image_size, recipe.data.largest_size)
    info = facts.info()
    info = type(info)(**{**asdict(info), "image_size": size})
    counts = _counts(make_plan(recipe), facts)
    recipe = fitted_to_images(recipe, counts.train, counts.halves)
    plan = make_plan(recipe)
    pixels = sum(part.images for part in facts.parts.values()) * facts.channels * size * size
    return Forecast(
        preset=recipe.preset,
        stages=tuple(parts(recipe, counts, measure(plan, info, device))),
        image_bytes=pixels,
        resident=pixels <= RESIDENT_BYTES,
        step_bytes=step_peak(plan, info, device),
        advice=advice(counts),
    )


def advice(counts: Counts) -> str:
    """Whether to search, or to train the plain network, which did better on so few images.

    Cells are told apart by their accuracies on half B. There two networks of 95 % differ by
    chance alone by `noise` (the deviation of a difference of two shares); cells of one size
    seldom differ by more than some points.
    """
    images = max(counts.half_b, 1)
    noise = (2 * 0.95 * 0.05 / images) ** 0.5
    told = f"half B has {images} images, on which equal cells differ by {100 * noise:.1f} points"
    if noise <= MOST_NOISE:
        return f"dots run; {told}"
    return f"dots train plain DATA, without a search; {told}"


def _counts(plan: Plan, facts: Facts) -> Counts:
    """Images of an epoch of each stage, to within a few."""
    settings = plan.recipe.data
    train = facts.parts["train"].images
    if "test" in facts.parts:
        test = facts.parts["test"].images
    else:
        test = round(train * settings.test_fraction)
        train -= test
    train = min(train, settings.limit or train)
    searched = min(train, settings.search_limit or train)
    half_a = round(searched * settings.weight_fraction)
    half_b = searched - half_a
    if settings.arch_fraction is not None:
        half_b = min(half_b, round(searched * settings.arch_fraction))
    return expected_counts(plan, train, test, half_a, half_b)
