"""`--compile` on a machine where it does not work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dots.cli.app import run

WORDS = [
    "search", "digits", "--preset", "tiny", "--device", "cpu", "--quiet",
    "--set", "data.limit=200", "--set", "operations.cells=2", "--set", "topology.cells=2",
]  # fmt: skip


def test_without_a_compiler_a_run_goes_on_and_the_result_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._dynamo.exc import TorchDynamoException

    def none_here(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*inputs: Any) -> Any:
            raise TorchDynamoException("no compiler on this machine")

        return call

    monkeypatch.setattr(torch, "compile", none_here)
    plain, asked = tmp_path / "plain", tmp_path / "asked"
    assert run([*WORDS, "--compile", "--out", str(asked)]) == 0
    assert run([*WORDS, "--set", "fast=false", "--out", str(plain)]) == 0
    (notice,) = json.loads((asked / "result.json").read_text())["notices"]
    assert "networks run uncompiled: no compiler on this machine" in notice
    assert json.loads((asked / "recipe.json").read_text())["compile"] is True
    genotype = "genotype.json"
    assert (asked / genotype).read_text() == (plain / genotype).read_text()
