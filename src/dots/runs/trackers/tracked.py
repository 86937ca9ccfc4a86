"""A run's trackers: begun once, told of every epoch once, continued by a resume."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

from dots.common.errors import UserError, did_you_mean, shown
from dots.common.records import (
    CANDIDATES,
    GENOTYPE,
    GENOTYPES,
    METRICS_TABLE,
    NETWORK,
    RECIPE,
    REPORT,
    RESULT,
    TRACKERS,
    TrackerState,
    TrackerStates,
)
from dots.networks.saved import WEIGHTS
from dots.recipe import flattened
from dots.runs.directory import RunDirectory
from dots.runs.progress import Shown, Silent
from dots.runs.restarts import restarts
from dots.runs.trackers.services import MLFLOW, TENSORBOARD, WANDB
from dots.runs.trackers.tracker import Beginning, Tracker, TrackerKind
from dots.space.genotype import Genotype

KINDS: Mapping[str, TrackerKind] = MappingProxyType(
    {"wandb": WANDB, "mlflow": MLFLOW, "tensorboard": TENSORBOARD}
)
KEPT = (RESULT, REPORT, RECIPE, METRICS_TABLE, CANDIDATES, *GENOTYPES.values(), NETWORK, WEIGHTS)


def check_trackers(names: Sequence[str]) -> None:
    """Raise UserError for a name that is not known, or whose library is not installed."""
    for name in names:
        if name not in KINDS:
            raise UserError(f"no logger {shown(name)}: {did_you_mean(name, KINDS)}")
        if find_spec(KINDS[name].module) is None:
            raise UserError(f"--logger {name} needs {name}: pip install 'dots-nas[{name}]'")


class Trackers:
    """The trackers of a run in work, those of trackers.json and those that `names` adds.

    An epoch that a resume takes again has been sent, and is not sent again; one that could not
    be sent is sent with the next. `say` tells the user of a tracker that fails: it is left out
    until the next resume. Raises UserError where one that is new cannot be begun.
    """

    def __init__(self, run: RunDirectory, names: Sequence[str], say: Callable[[str], None]) -> None:
        self._run, self._say = run, say
        read = TrackerStates.read(run.path) if run.has(TRACKERS) else TrackerStates()
        self._states = dict(read.trackers)
        self._open: dict[str, Tracker] = {}
        self._drawn: dict[str, Genotype] = {}
        self._completed = False
        for name in dict.fromkeys((*self._states, *names)):
            self._begin(name, new=name in names and name not in self._states)
        if self._open:
            self._write()

    def _begin(self, name: str, *, new: bool) -> None:
        state = self._states.get(name)
        settings = {
            key: value if isinstance(value, bool | int | float | str) else str(value)
            for key, value in flattened(self._run.recipe)
        }
        identity = None if state is None else state.identity
        beginning = Beginning(self._run.path.resolve(), settings, identity)
        try:
            check_trackers([name])
            tracker = KINDS[name].begin(beginning)
        except Exception as error:  # whatever a library of others, or its server, may raise
            if not new:
                self._say(f"the run goes on without {name}, which cannot go on: {_first(error)}")
                return
            self.close()
            raise UserError(
                f"--logger {name} cannot begin ({_first(error)}): {KINDS[name].remedy}; go on "
                f"with --resume {self._run.path}"
            ) from None
        self._open[name] = tracker
        sent = {} if state is None else state.sent
        self._states[name] = TrackerState(identity=dict(tracker.identity), sent=sent)

    def epoch_done(self, stage: str, epoch: int, genotype: Genotype | None) -> None:
        """Send the rows that were not sent, and the cell where it has changed."""
        self._send_rows()
        if genotype is None or not self._open or self._drawn.get(stage) == genotype:
            return
        self._drawn[stage] = genotype
        self._draw(stage, epoch, genotype)

    def _draw(self, stage: str, epoch: int, genotype: Genotype) -> None:
        from dots.space.drawing.pixels import genotype_pixels

        pixels = genotype_pixels(genotype)
        self._each(lambda tracker: tracker.cell(stage, epoch, pixels))

    def _send_rows(self) -> None:
        for row in self._run.metrics.rows() if self._open else []:
            attempt, epoch = len(restarts(self._run, row["stage"])), row["epoch"]
            stage = row["stage"] + (f"-attempt-{attempt + 1}" if attempt else "")
            values = _numbers(row)
            for name in list(self._open):
                sent = self._states[name].sent
                if epoch < sent.get(stage, 0):
                    continue
                if self._one(name, lambda tracker: tracker.numbers(stage, epoch, values)):  # noqa: B023
                    state = TrackerState(
                        identity=self._states[name].identity, sent={**sent, stage: epoch + 1}
                    )
                    self._states[name] = state
                    self._write()

    def result(self, result: Mapping[str, Any]) -> None:
        """Send the content of result.json, the found cell, and the files that tell of the run."""
        self._send_rows()
        if self._open and self._run.has(GENOTYPE):
            self._draw("result", 0, Genotype.load(self._run.path / GENOTYPE))
        files = [self._run.path / name for name in KEPT if self._run.has(name)]
        baselines = {
            f"{name}/{key}": value
            for name, entry in result.get("baselines", {}).items()
            for key, value in _numbers(entry).items()
        }
        values = {**_numbers(result), **baselines}
        self._each(lambda tracker: tracker.result(values, files))
        self._completed = True

    def close(self) -> None:
        """Finish the trackers' runs: they can be continued."""
        self._each(lambda tracker: tracker.close(self._completed))

    def _each(self, do: Callable[[Tracker], None]) -> None:
        for name in list(self._open):
            self._one(name, do)

    def _one(self, name: str, do: Callable[[Tracker], None]) -> bool:
        """Whether it went well; a tracker that failed is left out from then on."""
        try:
            do(self._open[name])
        except Exception as error:  # whatever a library of others, or its server, may raise
            del self._open[name]
            self._say(f"the run goes on without {name}, which failed: {_first(error)}")
            return False
        return True

    def _write(self) -> None:
        self._run.write_record(TrackerStates(trackers=self._states))


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in values.items()
        if name not in ("stage", "epoch")
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    }


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


class Tracked:
    """A watcher that also tells the trackers of every epoch."""

    def __init__(self, watcher: Shown | Silent, trackers: Trackers) -> None:
        self._watcher, self._trackers = watcher, trackers

    def stage_started(self, name: str, epochs: int, steps: int, done: int) -> None:
        self._watcher.stage_started(name, epochs, steps, done)

    def stepped(self, epoch: int, step: int) -> None:
        self._watcher.stepped(epoch, step)

    def epoch_done(self, row: dict[str, Any], genotype: Genotype | None) -> None:
        self._watcher.epoch_done(row, genotype)
        self._trackers.epoch_done(row["stage"], row["epoch"], genotype)

    def stage_done(self, name: str) -> None:
        self._watcher.stage_done(name)


@contextmanager
def tracked(
    run: RunDirectory, names: Sequence[str], say: Callable[[str], None]
) -> Iterator[Trackers | None]:
    """The trackers of a run for the time of the block; None where it has none, or elsewhere
    than in the process that writes."""
    if not run.writes or not (names or run.has(TRACKERS)):
        yield None
        return
    trackers = Trackers(run, names, say)
    try:
        yield trackers
    finally:
        trackers.close()
