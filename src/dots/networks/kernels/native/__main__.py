"""Build the kernels in C++ for an installation that lacks them.

python -m dots.networks.kernels.native
"""

from __future__ import annotations

import sys

from dots.networks.kernels import native
from dots.networks.kernels.native.build import build

if __name__ == "__main__":
    built = build(native.HERE)
    print("\n".join(built) or "no kernels were built: everything runs on PyTorch's own")
    print(f"in use on this machine: {native.kind()}")
    sys.exit(not built)
