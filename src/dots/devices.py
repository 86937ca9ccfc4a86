"""Which device, how many processes, which precision: all left to Lightning Fabric."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from dots.errors import UserError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def make_fabric(device: str | None = None, *, devices: int = 1, nodes: int = 1) -> Fabric:
    """The Fabric of a run.

    `device` is "cpu", "cuda", "mps", the number of a GPU ("0") or several ("0,1"), or None
    for the best there is; `devices` is the number of processes where no numbers are given.
    Under torchrun or SLURM the launcher decides. Raises UserError for a device that is not
    there. Precision is the engine's: Fabric gets full precision.
    """
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
