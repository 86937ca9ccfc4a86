"""Taking a trained network elsewhere: files for other programs, each checked before it is done.

The public names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dots.export.hub import PretrainedNetwork
    from dots.export.onnx import OnnxNetwork
    from dots.export.run import TARGETS, Exported, export_run

__all__ = ["TARGETS", "Exported", "OnnxNetwork", "PretrainedNetwork", "export_run"]

_HOMES = {
    "TARGETS": "dots.export.run",
    "Exported": "dots.export.run",
    "OnnxNetwork": "dots.export.onnx",
    "PretrainedNetwork": "dots.export.hub",
    "export_run": "dots.export.run",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'dots.export' has no attribute {name!r}")
