"""Builds the kernels in C++: with the package, or `python -m dots.networks.kernels.native`.

The standard library is all it needs, since it may run before the package is there.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = ("blocks.cpp", "joined.cpp", "sums.cpp")
HEADERS = ("vectors.h", "moments.h", "products.h", "depthwise.h")
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=fast", "-fPIC")
VARIANTS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86": {
        "kernels-avx512.so": ("-DLANES=16", "-march=x86-64-v4", "-mprefer-vector-width=512"),
        "kernels-avx2.so": ("-DLANES=8", "-march=x86-64-v3"),
    },
    "arm": {"kernels-neon.so": ("-DLANES=4",)},
}
"""For each kind of processor; the process that uses them chooses one. Every 64-bit ARM has Neon."""
MACHINES = {"x86_64": "x86", "amd64": "x86", "aarch64": "arm", "arm64": "arm"}


def variants() -> dict[str, tuple[str, ...]]:
    """The libraries of this kind of machine, and the compiler's flags for each."""
    known = os.name == "posix" and MACHINES.get(platform.machine().lower())
    return VARIANTS[known] if known else {}


def digest(folder: Path) -> str:
    """Of the sources in `folder`: a library tells from which it was built."""
    content = b"".join((folder / name).read_bytes() for name in (*SOURCES, *HEADERS))
    return hashlib.sha256(content).hexdigest()


def build(folder: Path) -> tuple[str, ...]:
    """Compile the sources in `folder` there: the names of the libraries that could be built."""
    return tuple(name for name, flags in variants().items() if _compiles(folder, name, flags))


def _compiles(folder: Path, name: str, flags: tuple[str, ...]) -> bool:
    compiler = os.environ.get("CXX", "c++").split()
    origin = f'-DSOURCES="{digest(folder)}"'
    sources = [str(folder / source) for source in SOURCES]
    try:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            objects = [str(Path(place, f"{source}.o")) for source in SOURCES]
            for source, target in zip(sources, objects, strict=True):
                _run([*compiler, *FLAGS, *flags, origin, "-c", source, "-o", target])
            _run([*compiler, "-shared", *objects, "-o", str(Path(place, name))])
            os.replace(Path(place, name), folder / name)
    except (OSError, subprocess.CalledProcessError) as error:
        output = getattr(error, "stderr", None) or str(error)
        print(f"{name} was not built: {output.splitlines()[0]}", file=sys.stderr)
        return False
    return True


def _run(command: list[str]) -> None:
    subprocess.run(command, capture_output=True, text=True, check=True)
