"""Builds the C++ kernels with the package, where there is a compiler: `networks.kernels.native`."""

from __future__ import annotations

import runpy
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = Path("src", "dots", "networks", "kernels", "native")


class Hook(BuildHookInterface[Any]):
    """What hatchling calls before it packs a wheel, or installs the checkout itself."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build, and let the wheel hold what was built."""
        build = runpy.run_path(str(Path(self.root) / NATIVE / "build.py"))["build"]
        built = build(Path(self.root) / NATIVE)
        if built:
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform}"
            build_data["artifacts"] += [f"/{NATIVE.as_posix()}/{name}" for name in built]
