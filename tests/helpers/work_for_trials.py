"""What trials do in tests of the machinery that runs them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dots.common.errors import UserError
from dots.study.trial import Trial


def trial(name: str, do: str = "return", **more: object) -> Trial:
    """A trial that does as it is told."""
    return Trial(name, {"kind": "test", "do": do, **more})


def obey(spec: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Return, refuse, raise, exit, be killed, or any of these the first `times` times only."""
    place = Path(folder)
    marks = len(list(place.glob("mark-*")))
    (place / f"mark-{marks}").touch()
    done = {"pid": os.getpid(), "marks": marks + 1, "folder": folder}
    if spec["do"] == "sleep":
        time.sleep(spec["seconds"])
        return done
    if spec["do"] == "return" or marks >= spec.get("times", 10**6):
        return done
    match spec["do"]:
        case "refuse":
            raise UserError("the strategy 'x' does not fit")
        case "raise":
            print("something on stdout")
            raise ValueError("a number too many")
        case "exit":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError(spec)
