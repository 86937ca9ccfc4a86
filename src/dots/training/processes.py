"""What the processes of one run do together: add, agree, wait; and notice when one has died.

All of them call the same functions in the same order. With a single process nothing happens.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dots.common.errors import UserError
from dots.common.threads import fit_machine

if TYPE_CHECKING:
    from lightning_fabric import Fabric
import logging
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class LostProcessError(UserError):
    """Another process of the run has ended, so this one cannot go on."""


def barrier(fabric: Fabric) -> None:
    """Wait until all processes are here. Raises LostProcessError."""
    if fabric.world_size > 1:
        _together(lambda: torch.distributed.barrier())


def summed(fabric: Fabric, value: Tensor) -> Tensor:
    """`value` added over all processes, in place. Raises LostProcessError."""
    return _reduced(fabric, value, torch.distributed.ReduceOp.SUM)


def largest(fabric: Fabric, value: Tensor) -> Tensor:
    """The largest of all processes, entry by entry, in place. Raises LostProcessError."""
    return _reduced(fabric, value, torch.distributed.ReduceOp.MAX)


def averaged(fabric: Fabric, value: Tensor) -> Tensor:
    """The mean over all processes, in place. Raises LostProcessError."""
    return value if fabric.world_size == 1 else summed(fabric, value).div_(fabric.world_size)


def agreed_text(fabric: Fabric, text: str) -> str:
    """The text of the main process, for all. Raises LostProcessError."""
    if fabric.world_size == 1:
        return text
    content = torch.tensor(list(text.encode()), dtype=torch.uint8, device=fabric.device)
    main = bool(fabric.is_global_zero)
    length = largest(fabric, torch.tensor(len(content) if main else 0, device=fabric.device))
    if not main:
        content = torch.zeros(int(length), dtype=torch.uint8, device=fabric.device)
    _together(lambda: torch.distributed.broadcast(content, src=0))
    return bytes(content.tolist()).decode()


def gathered(fabric: Fabric, table: Tensor, rows: Tensor, total: int) -> Tensor:
    """The rows of all processes as one table [total, columns], on the CPU.

    `table` [n, columns] holds this process' rows and `rows` [n] says which they are. Raises
    RuntimeError where a row is missing or comes twice.
    """
    whole = torch.zeros(total, table.shape[1] + 1, dtype=table.dtype)
    whole[rows] = torch.cat([table, table.new_ones(len(table), 1)], dim=1).cpu()
    if fabric.world_size > 1:
        whole = summed(fabric, whole.to(fabric.device)).cpu()
    if not bool((whole[:, -1] == 1).all()):
        raise RuntimeError("an image was tested twice or not at all")
    return whole[:, :-1]


@torch.no_grad()
def average_statistics(fabric: Fabric, module: nn.Module) -> None:
    """Give the running statistics of batch norms the mean of all processes', in one transfer.

    Every process normalises by its own part of a batch; what is kept for the evaluation is
    then that of all parts, and the same everywhere.
    """
    if fabric.world_size == 1:
        return
    statistics = [
        buffer
        for name, buffer in module.named_buffers()
        if name.endswith(("running_mean", "running_var"))
    ]
    scatter_back(averaged(fabric, flat(statistics)), statistics)


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """All numbers in one vector."""
    pieces = [tensor.flatten() for tensor in tensors]
    return torch.cat(pieces) if pieces else torch.zeros(0)


def scatter_back(vector: Tensor, tensors: Iterable[Tensor]) -> None:
    """Copy the numbers of `flat` back to where they came from."""
    start = 0
    for tensor in tensors:
        tensor.copy_(vector[start : start + tensor.numel()].view_as(tensor))
        start += tensor.numel()


def end_with_parent() -> None:
    """End this process within a second of the one that started it.

    For the processes that Fabric starts beside the main one: if that is killed, they must not
    stay behind, waiting for it.
    """
    parent = os.getppid()

    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=follow, daemon=True, name="end-with-parent").start()


def _reduced(fabric: Fabric, value: Tensor, how: torch.distributed.ReduceOp.RedOpType) -> Tensor:
    if fabric.world_size > 1 and value.numel():
        _together(lambda: torch.distributed.all_reduce(value, op=how))
    return value


def _together(call: Callable[[], object]) -> None:
    """A collective call; what it raises when another process is gone becomes one line."""
    try:
        call()
    except RuntimeError as error:
        line = " ".join(str(error).split())[:200]
        raise LostProcessError(
            "another process of this run has ended, see its error above; the run can be "
            f"continued from its last checkpoint ({line})"
        ) from None


def make_fabric(device: str | None = None, *, devices: int = 1, nodes: int = 1) -> Fabric:
    """The Fabric of a run.

    `device` is "cpu", "cuda", "mps", the number of a GPU ("0") or several ("0,1"), or None
    for the best there is; `devices` is the number of processes where no numbers are given.
    Where torchrun or SLURM has started several processes, their number is taken from there.
    Raises UserError for a device that is not there, or another number of processes than was
    started. Precision is the engine's: Fabric gets full precision. PyTorch's threads are
    lowered to what the machine has.
    """
    devices, nodes = _started(devices, nodes)
    accelerator, chosen = _parse(device, devices)
    count = chosen if isinstance(chosen, int) else len(chosen)
    fit_machine(count)
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
