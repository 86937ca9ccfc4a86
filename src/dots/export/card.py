"""The model card of a network: README.md of its repository on the Hugging Face hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dots.export.description import Description
from dots.networks.derived import DerivedNetwork
from dots.networks.skeletons import OwnNetwork

_ROWS = (
    ("test accuracy", "test_accuracy", "percent"),
    ("top-5 accuracy", "test_top5", "percent"),
    ("balanced accuracy", "balanced_accuracy", "percent"),
    ("test loss", "test_loss", "loss"),
    ("test images", "test_images", "count"),
    ("parameters", "parameters", "count"),
    ("multiply-adds of an image", "multiply_adds", "count"),
    ("search, seconds", "search_seconds", "seconds"),
    ("training, seconds", "train_seconds", "seconds"),
)


def card(description: Description, network: DerivedNetwork | OwnNetwork) -> str:
    """The card: metadata, the cell, the report's numbers, preprocessing, use."""
    name, shape = _plain(description.name), network.shape
    how = description.preprocessing()
    channels, size, _ = how["input_size"]
    classes = [_plain(each) for each in description.classes]
    listed = ", ".join(classes[:50]) + (f" and {len(classes) - 50} more" if classes[50:] else "")
    return f"""---
{_metadata(description)}
---

# {name}

A convolutional network for {len(classes)} classes, found by [DOTS](https://arxiv.org/abs/2010.04969)
(operation search, then topology search) and trained: {shape.cells} cells,
{shape.channels} initial channels, the {shape.stem} stem.

```
{network.genotype.describe()}
```

## Results

{_results(description.figures)}

## Input

{size}×{size} pixels, {channels} channels: the middle square of {how["crop_pct"]} times the shorter
side, resized ({how["interpolation"]}), scaled to 0 … 1 and normalised by the mean
{how["mean"]} and the standard deviation {how["std"]}.

Classes: {listed}.

## Use

```python
from dots.export import PretrainedNetwork

network = PretrainedNetwork.from_pretrained("FOLDER or USER/NAME")
probabilities = network.probabilities(images)  # [B, C, H, W], from 0 to 1
```

```python
import timm, dots.export.timm

model = timm.create_model("hf-hub:USER/NAME", pretrained=True)
```
"""


def _plain(text: str) -> str:
    """A name on one line, without what Markdown would take for its own."""
    return "".join(c if c.isprintable() and c not in "<>`[]|" else " " for c in text)


def _metadata(description: Description) -> str:
    """YAML; strings as JSON, which YAML contains."""
    lines = [
        "library_name: dots-nas",
        "pipeline_tag: image-classification",
        "tags: [image-classification, neural-architecture-search, dots, timm]",
    ]
    accuracy = description.figures.get("test_accuracy")
    if accuracy is not None:
        name = json.dumps(description.name)
        lines += [
            "metrics: [accuracy]",
            "model-index:",
            f"- name: {name}",
            "  results:",
            "  - task: {type: image-classification}",
            f"    dataset: {{name: {name}, type: {name}}}",
            f"    metrics: [{{type: accuracy, value: {accuracy}}}]",
        ]
    return "\n".join(lines)


def _results(figures: Mapping[str, Any]) -> str:
    rows = [(label, _figure(figures[key], how)) for label, key, how in _ROWS if key in figures]
    if not rows:
        return "The run holds no test result."
    return "\n".join(["| | |", "|---|---:|", *(f"| {label} | {value} |" for label, value in rows)])


def _figure(value: Any, how: str) -> str:
    match how:
        case "percent":
            return f"{100 * value:.2f} %"
        case "count":
            return f"{value:,}"
        case "loss":
            return f"{value:.4f}"
    return f"{value:,.0f}"
