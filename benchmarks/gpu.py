"""Steps on a GPU: ours, kernel by kernel and as one graph, and the textbook's on the same card.

    python benchmarks/gpu.py [--seconds 200] [--repeats 10] [--digits]

The rows are printed as they are measured, the most important ones first; none is begun once the
seconds are over. On a CPU it only shows that it runs, with small sizes:

    python benchmarks/gpu.py --device cpu --cells 3 --batch 4
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter

import torch

from comparing import add_sizes, machine, spread, verdict
from dots.runs.planning.trial_steps import settle, single_engine
from dots.training.engine import Engine
from dots.training.graphs import FIRST, cuda_graphs
from ours import Sizes, operation_search, recipe, topology_search, training
from textbook_steps import TextbookSearch, TextbookTopology, TextbookTraining

RETAINED = ("skip_connect", "sep_conv_3x3")
IMAGES, PAPER_CELLS, LARGEST = 50_000, 8, 5
SEARCH_MINUTES, DIGITS_SECONDS, CAPTURE_SECONDS = 30, 20, 20
Step = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """What is measured: how steps are made, ours with an engine, and what they should keep to.

    `ratio` and `memory` are shares of the textbook's, `seconds` those of a step.
    """

    name: str
    ours: Callable[[Engine], Step]
    textbook: Callable[[], Step] | None = None
    precision: str = "32"
    ratio: float | None = None
    memory: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Measured:
    """Seconds of steps, and of all until the first that counted; bytes at the peak, 0: unknown."""

    steps: list[float]
    first: float
    peak: int

    def __str__(self) -> str:
        memory = f", {self.peak / 2**20:,.0f} MiB" if self.peak else ""
        return f"{spread([1000 * step for step in self.steps], 1)} ms{memory}"


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = _options(words)
    device = torch.device(options.device)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU"
    print(f"{card}; {machine()}; minimum / median / maximum of {options.repeats} steps")
    end, medians = perf_counter() + options.seconds, {}
    for row in _rows(options, device):
        if perf_counter() > end:
            print(f"\n{row.name}: not measured, the {options.seconds:g} s are over")
            continue
        medians[row.name] = _measured(row, device, options.repeats)
        if row.name == "topology":
            _print_search_time(medians)
    if options.digits:
        _print_digits(options.device)


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--device", default="cuda", help="(%(default)s)")
    made.add_argument("--seconds", type=float, default=200, help="for all rows (%(default)s)")
    made.add_argument("--repeats", type=int, default=10, help="steps of each (%(default)s)")
    made.add_argument("--digits", action="store_true", help="also time all of `dots run digits`")
    add_sizes(made, channels=16, cells=PAPER_CELLS, batch=64)
    made.add_argument("--nodes", type=int, default=4, help="of a searched cell (%(default)s)")
    return made.parse_args(words)


def _rows(options: argparse.Namespace, device: torch.device) -> Iterator[Row]:
    """The paper's sizes, or those asked for in all of them."""
    sizes = topology = final = replace(Sizes.asked(options), nodes=options.nodes)
    if sizes.cells == PAPER_CELLS:
        topology = replace(sizes, cells=20)
        final = replace(sizes, channels=36, cells=20, batch=96)

    def weights(of: Sizes) -> Callable[[Engine], Step]:
        def make(engine: Engine) -> Step:
            search, batch = operation_search(of, engine=engine), of.ours(device)
            return lambda: engine.step(search.weight_step, batch, key=0)

        return make

    def architecture(engine: Engine) -> Step:
        search, batch = operation_search(sizes, engine=engine), sizes.ours(device)
        return lambda: engine.step(search.architecture_step, batch, key=0)

    def joint(engine: Engine) -> Step:
        stage, batch = topology_search(topology, RETAINED, engine), topology.ours(device)
        return lambda: stage.step(0, 0, (batch, None))

    def train(engine: Engine) -> Step:
        stage, batch = training(final, engine), final.ours(device)
        return lambda: stage.step(0, 0, (batch, None))

    larger = replace(sizes, batch=4 * sizes.batch)
    yield Row(
        "w",
        weights(sizes),
        lambda: TextbookSearch(sizes, device).weight_step,
        ratio=1 / 8,
        memory=1 / 2,
    )
    yield Row(
        "α", architecture, lambda: TextbookSearch(sizes, device).architecture_step, ratio=1 / 8
    )
    yield Row(
        "topology",
        joint,
        lambda: TextbookTopology(topology, RETAINED, device=device).step,
        ratio=1 / 10,
    )
    yield Row("training, bf16", train, precision="bf16", seconds=0.025)
    yield Row("training", train, lambda: TextbookTraining(final, device).step)
    yield Row("w, bf16", weights(sizes), precision="bf16")
    yield Row("topology, bf16", joint, precision="bf16")
    yield Row(f"w, batch {larger.batch}", weights(larger))


def _measured(row: Row, device: torch.device, repeats: int) -> float:
    """Measure a row and print it: the median seconds of our best way."""
    print(f"\n{row.name}", flush=True)
    engine = single_engine(device, precision=row.precision)
    ways = {"kernel by kernel": lambda: row.ours(engine)}
    graphs = cuda_graphs(device, lambda line: print(f"  {line}"))
    if graphs is not None:
        graphed = single_engine(device, precision=row.precision, graphs=graphs)
        ways["one graph"] = lambda: row.ours(graphed)
    if row.textbook is not None:
        ways["textbook"] = row.textbook
    found = {}
    for name, make in ways.items():
        found[name] = _timed(make, device, repeats)
        print(f"  {name}: {found[name]}", flush=True)
    if graphs is not None:
        first = found["one graph"].first
        print(f"  until the graph was there: {first:.1f} s; {verdict(first, CAPTURE_SECONDS)}")
    best = found.get("one graph", found["kernel by kernel"])
    own = median(best.steps)
    if row.seconds is not None:
        print(f"  step: {own:.4f} s; {verdict(own, row.seconds)}")
    if "textbook" in found:
        other = found["textbook"]
        _print_ratio("time", own / median(other.steps), row.ratio)
        if best.peak:
            _print_ratio("memory", best.peak / other.peak, row.memory)
    if device.type == "cuda" or row.name == "training":
        _print_kernels(row.ours(engine), device)
    return own


def _timed(make: Callable[[], Step], device: torch.device, repeats: int) -> Measured:
    """Make a step, take a few that do not count, and then those that do."""
    gc.collect()
    cuda, before = device.type == "cuda", 0
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    start = perf_counter()
    step = make()
    for _ in range(FIRST + 1 if cuda else 1):
        step()
    settle(device)
    first, steps = perf_counter() - start, []
    for _ in range(repeats):
        start = perf_counter()
        step()
        settle(device)
        steps.append(perf_counter() - start)
    return Measured(steps, first, torch.cuda.max_memory_allocated(device) - before if cuda else 0)


def _print_ratio(what: str, ratio: float, target: float | None) -> None:
    end = "" if target is None else f"; {verdict(ratio, target)}"
    print(f"  {what}, ours / textbook: {ratio:.3f}{end}", flush=True)


def _print_kernels(step: Step, device: torch.device) -> None:
    """How many kernels a step launches (on a CPU: calls), and which take the most time."""
    step()
    settle(device)
    cuda, activities = device.type == "cuda", torch.profiler.ProfilerActivity
    with torch.profiler.profile(
        activities=[activities.CUDA if cuda else activities.CPU]
    ) as profile:
        step()
        settle(device)
    count, times = 0, Counter[str]()
    for event in profile.events():
        is_kernel = event.device_type == torch.autograd.DeviceType.CUDA
        if is_kernel if cuda else event.name.startswith("aten::"):
            spent = event.self_device_time_total if cuda else event.self_cpu_time_total
            count, times[event.name] = count + 1, times[event.name] + spent
    print(f"  {count} kernels, {sum(times.values()) / 1000:.1f} ms in them; most in")
    for name, microseconds in times.most_common(LARGEST):
        print(f"    {microseconds / 1000:.1f} ms {name[:100]}", flush=True)


def _print_search_time(medians: Mapping[str, float]) -> None:
    """Both searches of paper-cifar from the steps measured, without reading images."""
    settings = recipe()
    first, second = settings.operations, settings.topology
    steps = -(-IMAGES // 2 // first.batch)
    seconds = steps * first.epochs * medians["w"]
    seconds += steps * (first.epochs - first.weight_epochs) * medians["α"]
    seconds += -(-IMAGES // second.batch) * second.epochs * medians["topology"]
    print(f"\npaper-cifar search: {seconds / 60:.1f} minutes; ", end="")
    print(verdict(seconds / 60, SEARCH_MINUTES), flush=True)


def _print_digits(device: str) -> None:
    start = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "dots", "run", "digits", "--device", device]
        subprocess.run([*command, "--quiet", "--out", f"{folder}/run"], check=True)
    seconds = perf_counter() - start
    print(f"\ndots run digits: {seconds:.1f} s; {verdict(seconds, DIGITS_SECONDS)}", flush=True)


if __name__ == "__main__":
    main()
