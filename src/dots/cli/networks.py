"""What a name on the command line stands for: a cell, with its skeleton, or a reference network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dots.common.errors import UserError
from dots.common.plugins import NOTHING, Plugin

if TYPE_CHECKING:
    from dots.space.genotype import Genotype


@dataclass(frozen=True)
class Named:
    """Either the name of a reference network, or a genotype and the skeleton to put it into."""

    reference: str | None
    genotype: Genotype | None
    skeleton: str = "darts"


def named_network(text: str, own_skeleton: bool, space: Plugin | None = None) -> Named:
    """The network called `text`: a reference network, a zoo name, a genotype file, or a run.

    With `own_skeleton` a cell of the zoo comes in the skeleton that it was published in. `space`
    is the user's own that a cell may be of.
    Raises UserError where there is no such thing, or no network can be built of it.
    """
    from dots import zoo
    from dots.common.records import RECIPE
    from dots.networks.reference import REFERENCES, find_reference
    from dots.runs.plugins import space_of
    from dots.space.search_space import given_space
    from dots.zoo.sizes import own_skeleton as skeleton_of

    reference = find_reference(text)
    entry = zoo.find(text)
    if own_skeleton and (reference is not None or entry is None):
        raise UserError(f"--own-skeleton: {text!r} is no cell of the zoo")
    if reference is not None:
        return Named(reference, None)
    own = given_space(space)
    if own is None and (Path(text) / RECIPE).is_file():
        own = space_of(Path(text), NOTHING)  # for its error
    genotype = zoo.resolve(text, REFERENCES, own)
    genotype.check_buildable()
    if own_skeleton and entry is not None:
        return Named(None, genotype, skeleton_of(entry.name))
    return Named(None, genotype)
