"""The processes of one run: what they do together, and how they are started.

All of them call the same methods in the same order. With a single process nothing happens.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dots.common.errors import UserError, in_one_line
from dots.common.threads import fit_machine


class LostProcessError(UserError):
    """Another process of the run has ended, so this one cannot go on."""


@dataclass(frozen=True)
class Processes:
    """This process, number `rank` of `world` and `local_rank` of its node, with its device.

    Reductions are in place and entry by entry. Every method raises LostProcessError where
    another process has ended.
    """

    device: torch.device
    rank: int = 0
    world: int = 1
    local_rank: int = 0
    _starter: object = field(default=None, repr=False, compare=False)
    """Keeps the handles of the processes that it has started."""

    @classmethod
    def single(cls, device: torch.device) -> Processes:
        """This process alone, however many others there are."""
        return cls(device)

    @property
    def main(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            _together(lambda: torch.distributed.barrier())

    def sum(self, value: Tensor) -> Tensor:
        """`value` added over all processes."""
        return self._reduced(value, torch.distributed.ReduceOp.SUM)

    def max(self, value: Tensor) -> Tensor:
        """The largest of all processes."""
        return self._reduced(value, torch.distributed.ReduceOp.MAX)

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all processes."""
        return value if self.world == 1 else self.sum(value).div_(self.world)

    def _reduced(self, value: Tensor, how: torch.distributed.ReduceOp.RedOpType) -> Tensor:
        if self.world > 1 and value.numel():
            _together(lambda: torch.distributed.all_reduce(value, op=how))
        return value

    def mean_of_all(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over all processes, in one transfer."""
        tensors = list(tensors)
        if self.world == 1 or not tensors:
            return
        start, mean = 0, self.mean(torch.cat([tensor.flatten() for tensor in tensors]))
        for tensor in tensors:
            tensor.copy_(mean[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()

    @torch.no_grad()
    def average_statistics(self, module: nn.Module) -> None:
        """Give the running statistics of batch norms the mean of all processes'.

        Every process normalises by its own part of a batch; what is kept for the evaluation is
        then that of all parts, and the same everywhere.
        """
        if self.world > 1:
            ends = ("running_mean", "running_var")
            self.mean_of_all(b for name, b in module.named_buffers() if name.endswith(ends))

    def text(self, text: str) -> str:
        """The text of the main process, for all."""
        if self.world == 1:
            return text
        content = torch.tensor(list(text.encode()), dtype=torch.uint8, device=self.device)
        length = self.max(torch.tensor(len(content) if self.main else 0, device=self.device))
        if not self.main:
            content = torch.zeros(int(length), dtype=torch.uint8, device=self.device)
        _together(lambda: torch.distributed.broadcast(content, src=0))
        return bytes(content.tolist()).decode()

    def gather(self, table: Tensor, rows: Tensor, total: int) -> Tensor:
        """The rows of all processes as one table [total, columns], on the CPU.

        `table` [n, columns] holds this process' rows and `rows` [n] says which they are. Raises
        RuntimeError where a row is missing or comes twice.
        """
        whole = torch.zeros(total, table.shape[1] + 1, dtype=table.dtype)
        whole[rows] = torch.cat([table, table.new_ones(len(table), 1)], dim=1).cpu()
        if self.world > 1:
            whole = self.sum(whole.to(self.device)).cpu()
        if not bool((whole[:, -1] == 1).all()):
            raise RuntimeError("an image was tested twice or not at all")
        return whole[:, :-1]


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


def _together(call: Callable[[], object]) -> None:
    """A collective call; what it raises when another process is gone becomes one line."""
    try:
        call()
    except RuntimeError as error:
        raise LostProcessError(
            "another process of this run has ended, see its error above; the run can be "
            f"continued from its last checkpoint ({in_one_line(error)})"
        ) from None


def start_processes(device: str | None = None, *, devices: int = 1, nodes: int = 1) -> Processes:
    """The processes of a run, started where no launcher (torchrun, SLURM) has.

    `device` is "cpu", "cuda", "mps", the number of a GPU ("0") or several ("0,1"), or None
    for the best there is; `devices` is the number of processes where no numbers are given.
    Raises UserError for a device that is not there, or another number of processes than was
    started. PyTorch's threads are lowered to what the machine has.
    """
    devices, nodes = _started(devices, nodes)
    accelerator, chosen = _parse(device, devices)
    count = chosen if isinstance(chosen, int) else len(chosen)
    fit_machine(count)
    if count * nodes == 1:  # Fabric takes seconds to load, and has nothing to do
        single = find_device(device)
        if single.type == "cuda":
            torch.cuda.set_device(single)
        return Processes.single(single)
    log = logging.getLogger("lightning_fabric")
    level = log.level
    with warnings.catch_warnings():  # advice on other devices, and deprecations of its own
        warnings.simplefilter("ignore")
        from lightning_fabric import Fabric

        log.setLevel(logging.WARNING)  # no banner
        fabric = Fabric(  # precision is the engine's
            accelerator=accelerator,
            devices=chosen,
            num_nodes=nodes,
            strategy="ddp" if count * nodes > 1 else "auto",
        )
        fabric.launch()
        log.setLevel(level)
    if fabric.world_size > 1 and fabric.local_rank > 0 and "TORCHELASTIC_RUN_ID" not in os.environ:
        end_with_parent()
    return Processes(
        fabric.device, fabric.global_rank, fabric.world_size, fabric.local_rank, fabric
    )


def device_name(device: torch.device) -> str:
    """A device for people: a GPU by its name, with its memory."""
    if device.type != "cuda":
        return device.type
    known = torch.cuda.get_device_properties(device)
    return f"{known.name} with {known.total_memory / 2**30:.0f} GiB"


def find_device(name: str | None = None) -> torch.device:
    """The device of a command with one process, by its name as for `start_processes`.

    Raises UserError for one that is not there.
    """
    kind, chosen = _parse(name, 1)
    if kind == "cuda":
        return torch.device(kind, chosen[0] if isinstance(chosen, list) else 0)
    return torch.device(kind)


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
