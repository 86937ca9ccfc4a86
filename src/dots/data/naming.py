"""How a run remembers where its data came from."""

from __future__ import annotations

from pathlib import Path

from dots.data.hub import is_hub_name
from dots.data.sources import Spec
from dots.data.torchvision_sources import canonical, torchvision_sets


def remembered(spec: Spec) -> str | None:
    """A name as it is, a path as an absolute one, None for datasets given from Python."""
    if not isinstance(spec, str | Path):
        return None
    if isinstance(spec, str) and canonical(spec) in ("digits", *torchvision_sets()):
        return spec
    if isinstance(spec, str) and is_hub_name(spec):
        return spec
    return str(Path(spec).expanduser().resolve())
