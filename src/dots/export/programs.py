"""Running an exported program, to see what it answers."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from dots.common.errors import UserError
from dots.export.target import Reader

PROGRAM = "network.py"
SECONDS = 1800
"""A first start may compile for minutes."""


def answers_of_program(program: Path, files: Sequence[Path], reader: Reader) -> Tensor:
    """Probabilities [N, classes] that a program prints for image files.

    It runs as a process of its own, with nothing of this library in reach but what is
    installed. Raises UserError, with the end of what it said, where it fails.
    """
    paths = "\n".join(str(file.resolve()) for file in files)
    try:
        done = subprocess.run(
            [reader.python, program.name, "--json"],
            cwd=program.parent,
            input=paths,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"the exported program did not run: {error}") from None
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing was said"]
        raise UserError(f"the exported program failed: {said[-1][:300]}")
    try:
        return torch.tensor(json.loads(lines[-1]))
    except (ValueError, TypeError):
        raise UserError(
            f"the exported program printed no probabilities: {lines[-1][:100]}"
        ) from None


def without_imports(source: str) -> str:
    """What a module defines, without its docstring and imports."""
    lines = source.splitlines()
    imports = [n for n, line in enumerate(lines) if line.startswith(("import ", "from "))]
    return "\n".join(lines[imports[-1] + 1 :]).strip("\n") + "\n"
