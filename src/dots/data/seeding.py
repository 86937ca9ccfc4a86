"""Random numbers as a function of what they are for, not of what was drawn before."""

from __future__ import annotations

import torch

from dots.seeding import seed_for


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator whose state depends on `seed` and `purpose` alone.

    The same arguments give the same numbers in any process, on any machine, in any order of
    calls: nothing about random numbers must be stored to resume.
    """
    return torch.Generator().manual_seed(seed_for("data", seed, *purpose))
