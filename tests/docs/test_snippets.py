"""What the documentation shows runs: its Python, its commands, in the order of each page.

Presets are shrunk, so that a run takes a second or two; otherwise commands run as they stand.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from dots.cli.app import run
from dots.recipe import PRESETS, Recipe
from dots.recipe.shares import AS_WRITTEN
from helpers.doc_pages import PAGES, blocks, commands, prepare, small_images
from helpers.shared_data import shared_data

SEARCH = {
    "epochs": 1, "weight_epochs": 0, "lr_epochs": None, "lr_offset": 0, "cells": 2, "channels": 4,
    "batch": 24, "stem": "cifar",
}  # fmt: skip
TRAIN = {
    "epochs": 1, "warmup_epochs": 0, "cells": 2, "channels": 4, "batch": 24, "stem": "cifar",
    "published_epochs": None,
}  # fmt: skip
PROMISE = r"print\(.*\)\s+# ([\d ]+|True|\(\d.*\))\n"
"""What a snippet says that it prints: numbers, a tuple of them, or True."""
SLOW = (
    "README.md",
    *(
        f"docs/{name}.md"
        for name in (
            "budget", "exporting", "images", "index", "methods/perturbation", "python",
            "reproducing", "runs", "search", "studies", "zoo",
        )
    ),
)  # fmt: skip
"""Pages that take more than ten seconds."""
ELSEWHERE = ("docs/extending.md",)
"""Pages whose blocks are a package of their own: see test_extending.py."""
WITHOUT = ("docs/settings.md", "docs/reference.md")
"""Pages that are made from the code."""


def shrunk(recipe: Recipe, nodes: int | None) -> Recipe:
    """The same with tiny networks, one epoch and few images."""
    return recipe.model_copy(
        update={
            "nodes": nodes,
            **AS_WRITTEN,
            "halving": recipe.halving.model_copy(update={"epochs": 1}),
            "data": recipe.data.model_copy(update={"limit": 48, "image_size": None}),
            "operations": recipe.operations.model_copy(update=SEARCH),
            "topology": recipe.topology.model_copy(update=SEARCH),
            "train": recipe.train.model_copy(update=TRAIN),
        }
    )


def small_presets(patch: pytest.MonkeyPatch, nodes: int | None) -> None:
    """Shrink every preset. `nodes` is the number in a cell; None: the space's own."""
    made = {name: shrunk(make(), nodes) for name, make in PRESETS.items()}
    small = {name: (lambda recipe=recipe: recipe) for name, recipe in made.items()}
    patch.setattr("dots.recipe.build.PRESETS", small)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the images of the pages."""
    place = tmp_path_factory.mktemp("pages")
    small_images(place / "my-images")
    out = place / "run"
    with pytest.MonkeyPatch.context() as patch:
        small_presets(patch, 2)
        words = ["run", str(place / "my-images"), "--quiet", "--baselines", "--out", str(out)]
        assert run(words) == 0
    return out


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.slow if page in SLOW else ())
        for page in PAGES
        if page not in (*ELSEWHERE, *WITHOUT)
    ],
)
def test_a_page_runs(
    page: str,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = blocks(page)
    fixed = any("nasbench201" in block.text for block in found)
    small_presets(monkeypatch, None if fixed else 2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    prepare(tmp_path, finished)
    if any("nasbench201.parquet" in block.text for block in found):
        os.symlink(shared_data("nasbench201.parquet"), "nasbench201.parquet")
    for module in ("timm", "onnxruntime"):
        if any(f"import {module}" in b.text or f", {module}" in b.text for b in found):
            pytest.importorskip(module)
    for target, name in (("onnx", "network.onnx"), ("torch", "network.pt2")):
        if any(f'"{name}"' in block.text for block in found):
            assert run(["export", "runs/my-images-1", "--to", target, "--out", name]) == 0
    names: dict[str, object] = {"__name__": "a page"}
    for block in found:
        if block.language == "python" and block.runs:
            exec(compile(block.text, page, "exec"), names)
            printed = capsys.readouterr().out
            for promised in re.findall(PROMISE, block.text):
                assert promised in printed, promised
        for words in commands(block):
            capsys.readouterr()
            redirected = words[: words.index(">")] if ">" in words else words
            assert run(redirected) == 0, (words, capsys.readouterr().err)
            if redirected != words:
                Path(words[words.index(">") + 1]).write_text(capsys.readouterr().out)


def test_every_block_has_a_known_language() -> None:
    known = {"python", "console", "diff", "text", "", "toml", "json"}
    for page in PAGES:
        assert {block.language for block in blocks(page)} <= known, page
