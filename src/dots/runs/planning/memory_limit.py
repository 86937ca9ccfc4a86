"""In how many parts a batch must be taken to stay below a limit of memory: measured.

Steps of every stage are taken in a process of its own, on throw-away networks and random
images, from the most parts to the fewest, until the peak exceeds the limit.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import torch

from dots.common.errors import UserError
from dots.common.files import parse_json
from dots.common.plugins import Given, Plugin, load_reference
from dots.data import DataInfo
from dots.nas.plan import Plan, make_plan
from dots.recipe import Recipe, recipe_from_json
from dots.runs.planning.time_estimate import settings_batch
from dots.runs.planning.trial_steps import STAGES, single_engine, trial_steps

MOST_PARTS = 64
_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def bytes_of(text: str) -> int:
    """ "8G", "800M", "1.5GiB" in bytes. Raises UserError for anything else."""
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*([kmgt])(i?b)?\s*", text.lower())
    if not match or float(match[1]) <= 0:
        raise UserError(f"--max-memory {text!r}: write an amount as 800M or 8G")
    return int(float(match[1]) * _UNITS[match[2]])


def shown_bytes(count: int) -> str:
    """An amount of memory for people."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def fewest_parts(
    plan: Plan,
    info: DataInfo,
    device: torch.device,
    limit: int,
    *,
    resident: int = 0,
    processes: int = 1,
) -> tuple[int, int]:
    """(accumulate, peak in bytes): the fewest parts with which every stage stays in `limit`.

    The peak is that of the whole process on the CPU, and of what PyTorch reserves on a GPU;
    `resident` bytes of images that lie there during the run are added. Raises UserError where
    even the most parts take more.
    """
    best: tuple[int, int] | None = None
    counts = tuple(halved(_largest(plan.recipe)))
    for parts, peak in _peaks(plan, info, device, processes, counts):
        if peak + resident > limit:
            best = best or (0, peak + resident)
            break
        best = (parts, peak + resident)
    if best is None:
        raise UserError("--max-memory: the measurement failed, see above")
    if best[0] == 0:
        raise UserError(
            f"--max-memory of {shown_bytes(limit)}: a step takes {shown_bytes(best[1])} even in "
            f"small parts: set low_memory=true, fewer channels or cells, or a smaller image_size"
        )
    return best


def step_peak(plan: Plan, info: DataInfo, device: torch.device) -> int:
    """The peak in bytes of a process that takes a step of every stage, as the recipe says."""
    for _, peak in _peaks(plan, info, device, 1, (plan.recipe.accumulate,)):
        return peak
    raise UserError("the memory of a step could not be measured, see above")


def _largest(recipe: Recipe) -> int:
    return max(settings_batch(recipe, stage) for stage in STAGES)


def _peaks(
    plan: Plan,
    info: DataInfo,
    device: torch.device,
    processes: int,
    parts: tuple[int, ...],
) -> Iterator[tuple[int, int]]:
    """(parts, peak in bytes) for each number of parts, from a process of their own."""
    request = {
        "recipe": plan.recipe.to_json(),
        "given": [_again(each) for each in (plan.given.strategy, plan.given.space)],
        "info": info.to_json(),
        "device": str(device),
        "processes": processes,
        "parts": parts,
    }
    command = [sys.executable, "-m", "dots.runs.planning.memory_limit"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(request))
        child.stdin.close()
        try:
            for line in child.stdout:
                count, peak = map(int, line.split())
                yield count, peak
        finally:
            child.kill()


def _again(plugin: Plugin | None) -> str | None:
    """What loads it in the other process."""
    if plugin is not None and plugin.text is None:
        raise UserError(
            f"--max-memory is measured in a process of its own, which {plugin.name} does not "
            "reach: put it into a file"
        )
    return plugin.text if plugin is not None else None


def halved(batch: int) -> list[int]:
    """The numbers of parts that are tried, the most first."""
    counts = [1]
    while counts[-1] * 2 <= min(batch, MOST_PARTS):
        counts.append(counts[-1] * 2)
    return counts[::-1]


def _measure(request: dict[str, Any]) -> None:
    """In the process of its own: print a line "parts peak" for each number of parts."""
    recipe = recipe_from_json(request["recipe"])
    info = DataInfo.from_json(request["info"], where="the request")
    device, processes = torch.device(request["device"]), int(request["processes"])
    strategy, space = (text and load_reference(text) for text in request["given"])
    plan = make_plan(recipe, Given(strategy, space))
    shares = {stage: -(-settings_batch(recipe, stage) // processes) for stage in STAGES}
    for parts in request["parts"]:
        engine = single_engine(device, parts, recipe.precision)
        for trial in trial_steps(plan, info, engine):
            trial.late(shares[trial.stage])
        print(parts, peak_bytes(device), flush=True)


def peak_bytes(device: torch.device) -> int:
    """The largest memory so far: of this process, or what is reserved on a GPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    _measure(parse_json(sys.stdin.read(), what="a request", where="the request"))
