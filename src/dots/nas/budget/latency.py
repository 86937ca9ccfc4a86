"""How long operations take on a device: measured once, kept as JSON, used for latencies."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from dots.common.errors import UserError, shown
from dots.common.files import read_json, write_json
from dots.common.seeding import isolated_random_state
from dots.nas.budget.cost_table import CostTable, Place, cost_table, free_genotype, places
from dots.networks.body import Shape, check_image_size
from dots.networks.count import operation_latency
from dots.networks.derived import DerivedNetwork
from dots.space.search_space import ZERO, SearchSpace

VERSION = 1


@dataclass(frozen=True)
class LatencyTable:
    """Nanoseconds of a forward pass: of each operation at each place, and of the rest.

    For networks of one space, shape and image size (pixels), for `batch` images at once, on
    the device that `device` describes.
    """

    space: str
    shape: Shape
    image_size: int
    batch: int
    device: Mapping[str, str]
    rest: int
    operations: Mapping[tuple[str, Place], int]

    def costs(self, space: SearchSpace, shape: Shape, image_size: int) -> CostTable:
        """The table as costs of a network's edges.

        Raises UserError where it was measured for other networks, or lacks an operation.
        """
        wanted = (space.name, asdict(shape), image_size)
        if wanted != (self.space, asdict(self.shape), self.image_size):
            raise UserError(
                f"the latency table was measured for {self.space!r} networks of "
                f"{self.shape.cells} cells, {self.shape.channels} channels and "
                f"{self.image_size}-pixel images, not for this one: run dots profile again"
            )
        names = {op for op, _ in self.operations}
        found = places(space, shape, image_size)
        return cost_table(space, found, "nanoseconds", self.rest, self._measured, names)

    def _measured(self, op: str, place: Place) -> float:
        if (op, place) not in self.operations:
            raise UserError(
                f"the latency table has no {op} with {place.channels} channels at stride "
                f"{place.stride} on {place.size} pixels: run dots profile again"
            )
        return self.operations[op, place]

    def to_json(self) -> dict[str, Any]:
        """The table as JSON values."""
        rows = [
            {"operation": op, **place._asdict(), "nanoseconds": value}
            for (op, place), value in self.operations.items()
        ]
        return {
            "version": VERSION,
            "space": self.space,
            "shape": asdict(self.shape),
            "image_size": self.image_size,
            "batch": self.batch,
            "device": dict(self.device),
            "rest_nanoseconds": self.rest,
            "operations": rows,
        }

    def save(self, path: Path) -> None:
        """Write the table as JSON, atomically."""
        write_json(path, self.to_json())

    @classmethod
    def load(cls, path: Path) -> LatencyTable:
        """Read a table. Raises UserError where the file is missing or is none."""
        value = read_json(path, what="a latency table (dots profile writes one)")
        return cls.from_json(value, repr(str(path)))

    @classmethod
    def from_json(cls, value: Any, where: str) -> LatencyTable:
        """The inverse of `to_json`; `where` names its file. Raises UserError for anything else."""
        try:
            return _parse(value)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{where} is no latency table ({shown(str(error))}): run dots profile again"
            ) from None


def _parse(value: Any) -> LatencyTable:
    if value["version"] != VERSION:
        raise ValueError(f"version {value['version']!r}")
    operations = {}
    for row in value["operations"]:
        place = Place(*(_whole(row[name]) for name in Place._fields))
        operations[str(row["operation"]), place] = _whole(row["nanoseconds"])
    return LatencyTable(
        space=str(value["space"]),
        shape=Shape(**value["shape"]),
        image_size=_whole(value["image_size"]),
        batch=_whole(value["batch"]),
        device={str(key): str(text) for key, text in dict(value["device"]).items()},
        rest=_whole(value["rest_nanoseconds"]),
        operations=operations,
    )


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{shown(value)} is no whole number")
    return value


def measure_latencies(
    space: SearchSpace,
    shape: Shape,
    image_size: int,
    *,
    operations: Iterable[str] | None = None,
    device: torch.device | None = None,
    batch: int = 1,
    repeats: int = 20,
) -> LatencyTable:
    """Measure now: the median of `repeats` forward passes of everything, in evaluation mode.

    `operations` are those of the space unless given. Raises UserError for images that are
    too small. Measure on a machine that does nothing else.
    """
    check_image_size(space, shape, image_size)
    device = device or torch.device("cpu")
    names = tuple(space.operations if operations is None else operations)
    found = sorted({place for row in places(space, shape, image_size).values() for place in row})
    table: dict[tuple[str, Place], int] = {}
    with isolated_random_state():
        for op in names:
            for place in found if op != ZERO else ():
                seconds = operation_latency(
                    op, *place, batch=batch, device=device, repeats=repeats, own=space.own
                )
                table[op, place] = round(1e9 * seconds)
        rest = _rest(space, shape, image_size, device, batch, repeats)
    return LatencyTable(space.name, shape, image_size, batch, describe_device(device), rest, table)


def _rest(
    space: SearchSpace,
    shape: Shape,
    image_size: int,
    device: torch.device,
    batch: int,
    repeats: int,
) -> int:
    """Nanoseconds of a network whose cells are poolings alone, less those of the poolings."""
    genotype = free_genotype(space)
    network = DerivedNetwork(genotype, shape).eval().to(device)
    images = torch.randn(batch, shape.image_channels, image_size, image_size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    seconds = []
    with torch.no_grad():
        for _ in range(repeats + 3):
            start = time.perf_counter()
            network(images).sum().item()  # waits for the device
            seconds.append(time.perf_counter() - start)
    whole = 1e9 * statistics.median(seconds[3:])  # the first calls warm up
    pooling = genotype.cells[space.kinds[0]].nodes[0][0].op
    free = {
        place: 1e9 * operation_latency(pooling, *place, batch=batch, device=device, repeats=repeats)
        for row in places(space, shape, image_size).values()
        for place in set(row)
    }
    own = cost_table(
        space,
        places(space, shape, image_size),
        "nanoseconds",
        0.0,
        lambda _, place: free[place],
        [pooling],
    )
    return max(0, round(whole - own.total(genotype)))


def describe_device(device: torch.device) -> dict[str, str]:
    """What a latency depends on: processor, threads, versions."""
    name = platform.processor() or platform.machine()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    return {
        "type": device.type,
        "name": name,
        "threads": str(torch.get_num_threads()),
        "processors": str(os.cpu_count()),
        "system": platform.platform(),
        "torch": torch.__version__,
    }
