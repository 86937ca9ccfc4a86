"""Sec. 3.1: search spaces, cells, genotypes. No torch."""

import warnings
from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """What `dots.space` held when it was a module; it says where that is now."""
    module = import_module("dots.space.search_space")
    if name.startswith("_") or not hasattr(module, name):
        raise AttributeError(f"module 'dots.space' has no attribute {name!r}")
    warnings.warn(
        f"dots.space.{name} is now dots.space.search_space.{name}", DeprecationWarning, stacklevel=2
    )
    return getattr(module, name)
