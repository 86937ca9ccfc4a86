"""Perturbation-based selection that is killed between two decisions ends bit for bit the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.killing import QUICKEST, Killer
from helpers.run_equality import differing

WORDS = (
    "run", "digits", *QUICKEST, "--space", "s2", "--select", "perturbation", "--set",
    "retain=top2",
)  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(killer: Killer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    end = killer.run(*WORDS, "--out", str(out))
    assert end.status == 0, end.said
    return out


@pytest.mark.parametrize("stage", ["operations", pytest.param("topology", marks=pytest.mark.slow)])
def test_it_goes_on_where_it_was(
    killer: Killer, undisturbed: Path, tmp_path: Path, stage: str
) -> None:
    out = tmp_path / "run"
    end = killer.run(
        *WORDS, "--out", str(out), at=("replace", 3, f"-{stage}-perturbation.safetensors")
    )
    assert end.status == -9
    assert not (out / "result.json").exists()
    end = killer.run("run", "--resume", str(out), "--quiet")
    assert end.status == 0, end.said
    assert differing(undisturbed, out) == []
