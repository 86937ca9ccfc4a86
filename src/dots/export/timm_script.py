"""Runs a script of timm's, such as its train.py, with the models of DOTS known to it:

python -m dots.export.timm_script train.py --model dots_network --model-kwargs genotype=RUN ...
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path


def main(words: list[str]) -> None:
    """Run the script `words[0]` with the other words as its arguments."""
    if not words:
        raise SystemExit("dots: name a script of timm's: python -m dots.export.timm_script SCRIPT")
    import dots.export.timm  # noqa: F401  # tells timm of the models

    sys.argv = words
    sys.path.insert(0, str(Path(words[0]).resolve().parent))  # as Python does for a script
    runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
