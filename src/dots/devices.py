"""Which device, how many processes, which precision: all left to Lightning Fabric."""

from __future__ import annotations

import logging
import os
import warnings
from typing import TYPE_CHECKING

import torch

from dots.errors import UserError
from dots.ranks import end_with_parent

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def make_fabric(device: str | None = None, *, devices: int = 1, nodes: int = 1) -> Fabric:
    """The Fabric of a run.

    `device` is "cpu", "cuda", "mps", the number of a GPU ("0") or several ("0,1"), or None
    for the best there is; `devices` is the number of processes where no numbers are given.
    Where torchrun or SLURM has started several processes, their number is taken from there.
    Raises UserError for a device that is not there, or another number of processes than was
    started. Precision is the engine's: Fabric gets full precision.
    """
    devices, nodes = _started(devices, nodes)
    accelerator, chosen = _parse(device, devices)
    count = chosen if isinstance(chosen, int) else len(chosen)
    with warnings.catch_warnings():  # advice on other devices, and deprecations of its own
        warnings.simplefilter("ignore")
        from lightning_fabric import Fabric

        return Fabric(
            accelerator=accelerator,
            devices=chosen,
            num_nodes=nodes,
            strategy="ddp" if count * nodes > 1 else "auto",
        )


def launch(fabric: Fabric) -> None:
    """Start the other processes, where no launcher has, and wait for them."""
    log = logging.getLogger("lightning_fabric")
    level = log.level
    log.setLevel(logging.WARNING)  # no banner
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fabric.launch()
    log.setLevel(level)
    if fabric.world_size > 1 and fabric.local_rank > 0 and "TORCHELASTIC_RUN_ID" not in os.environ:
        end_with_parent()


def _started(devices: int, nodes: int) -> tuple[int, int]:
    """(processes on this node, nodes): as a launcher has started them, else as asked."""
    launcher, here, count = "", devices, nodes
    given = os.environ
    if "TORCHELASTIC_RUN_ID" in given:
        launcher, here = "torchrun", int(given["LOCAL_WORLD_SIZE"])
        count = int(given["WORLD_SIZE"]) // here
    elif int(given.get("SLURM_NTASKS", 1)) > 1 and given.get("SLURM_JOB_NAME") not in _SHELLS:
        count = int(given.get("SLURM_NNODES", 1))
        launcher, here = "SLURM", int(given["SLURM_NTASKS"]) // count
    if launcher and devices not in (1, here):
        raise UserError(
            f"--devices {devices}, but {launcher} has started {here} processes on this node: "
            f"leave --devices out"
        )
    return here, count


_SHELLS = ("bash", "interactive")  # SLURM started a shell, not these processes


def _parse(device: str | None, devices: int) -> tuple[str, int | list[int]]:
    if device is None:
        device = _best()
    if device == "cpu":
        return "cpu", devices
    if device == "mps":
        if not torch.backends.mps.is_available():
            raise UserError("no device 'mps' on this machine: use --device cpu")
        return "mps", 1
    numbers = _numbers(device)
    if device != "cuda" and not numbers:
        raise UserError(f"unknown device {device!r}: choose cpu, cuda, mps, 0 or 0,1")
    there = torch.cuda.device_count()
    wanted = max(numbers, default=devices - 1) + 1
    if wanted > there:
        raise UserError(
            f"device {device!r} needs {wanted} GPUs, this machine shows {there}: use --device cpu"
        )
    return "cuda", numbers or devices


def _numbers(device: str) -> list[int]:
    parts = device.split(",")
    return [int(part) for part in parts] if all(part.strip().isdigit() for part in parts) else []


def _best() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
