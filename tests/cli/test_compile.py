"""`--compile` on a machine where it does not work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dots.cli.app import run
from helpers.compilers import refusing

WORDS = [
    "search", "digits", "--preset", "tiny", "--device", "cpu", "--quiet",
    "--set", "data.limit=130", "--set", "nodes=2", "--set", "operations.cells=2",
    "--set", "topology.cells=2",
]  # fmt: skip


def test_without_a_compiler_a_run_goes_on_and_the_result_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", refusing("no compiler on this machine"))
    plain, asked = tmp_path / "plain", tmp_path / "asked"
    assert run([*WORDS, "--compile", "--out", str(asked)]) == 0
    assert run([*WORDS, "--set", "fast=false", "--out", str(plain)]) == 0
    (notice,) = json.loads((asked / "result.json").read_text())["notices"]
    assert "networks run uncompiled: no compiler on this machine" in notice
    assert json.loads((asked / "recipe.json").read_text())["compile"] is True
    genotype = "genotype.json"
    assert (asked / genotype).read_text() == (plain / genotype).read_text()
