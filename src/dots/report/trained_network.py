"""What a run trained: a cell that it searched or was given, or a known network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dots import zoo
from dots.report.reading import FOUND, Run
from dots.report.wording import cell_name, visible

Kind = Literal["found", "given", "reference"]


@dataclass(frozen=True)
class TrainedNetwork:
    """Where the trained network comes from, and its name as a title and within a sentence."""

    kind: Kind
    title: str
    words: str

    def title_of(self, name: str) -> str:
        """The title of one of the run's networks: this one, or a baseline."""
        return self.title if name == FOUND else cell_name(name)


def trained_network(run: Run) -> TrainedNetwork:
    """What the run's test accuracy is of.

    A given cell that is one of the zoo's is called by its name there.
    """
    if run.result is not None and run.result.reference is not None:
        name = visible(run.result.reference)
        return TrainedNetwork("reference", name, name)
    if run.candidates is not None or run.architecture:
        return TrainedNetwork("found", cell_name(FOUND), "the found cell")
    genotype = run.genotypes.get(FOUND)
    known = next((e.name for e in zoo.entries() if e.genotype == genotype), None)
    if known is not None:
        return TrainedNetwork("given", known, known)
    return TrainedNetwork("given", "Given cell", "the given cell")
