"""DOTS: finds convolutional cells for your own images.

The public names are loaded when they are first used, so that `dots --help` does not wait for
PyTorch. Threads that wait are told to sleep (OMP_WAIT_POLICY) before it is.
"""

from __future__ import annotations

import sys
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

from dots.common.moved import MovedModules
from dots.common.threads import wait_passively

if TYPE_CHECKING:
    from dots.api import build, run, search
    from dots.common.errors import UserError
    from dots.nas import own_models as nn
    from dots.recipe import Recipe, build_recipe
    from dots.runs.predict import load
    from dots.space.genotype import Genotype

__all__ = [
    "Genotype",
    "Recipe",
    "UserError",
    "build",
    "build_recipe",
    "load",
    "nn",
    "run",
    "search",
]

_HOMES = {
    "Genotype": "dots.space.genotype",
    "Recipe": "dots.recipe",
    "UserError": "dots.common.errors",
    "build": "dots.api",
    "build_recipe": "dots.recipe",
    "load": "dots.runs.predict",
    "run": "dots.api",
    "search": "dots.api",
}


wait_passively()

sys.meta_path.append(MovedModules())  # makes `import dots.nn` work, and still `dots.timm`


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name == "nn":
        return import_module("dots.nn")
    if name == "__version__":
        return metadata.version("dots-nas")
    raise AttributeError(f"module 'dots' has no attribute {name!r}")
