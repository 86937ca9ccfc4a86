"""The cells that compete in a halving: the searched one, published, probable and random ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, zip_longest

from dots.common.errors import UserError
from dots.nas.budget.budget import Budget
from dots.nas.budget.distribution import ArchitectureDistribution
from dots.nas.budget.most_probable import top_cells
from dots.space.genotype import Genotype
from dots.space.search_space import SearchSpace
from dots.zoo import PUBLISHED, load

SEARCHED = "searched"


@dataclass(frozen=True)
class Finalist:
    """A cell and where it comes from: "searched", "probable-2", "random-1", a name of the zoo."""

    origin: str
    genotype: Genotype


def finalists(
    count: int,
    searched: Genotype,
    budget: Budget,
    *,
    policy: Genotype | None = None,
    distribution: ArchitectureDistribution | None = None,
    seed: int = 0,
    form: Callable[[Genotype], Genotype] = lambda genotype: genotype,
) -> tuple[Finalist, ...]:
    """Up to `count` different cells within the budget, the searched one first.

    Then come by turns a published cell and one of these: a random cell, the DARTS policy's, and
    by turns the next most probable one of the topology search (`distribution`) and a further
    random one. No random cell is the one that `budget.random_cell(seed)` gives, against which
    the outcome is compared. Each competes in the `form` in which it would be trained.
    """
    drawn = (Finalist(f"random-{draw}", budget.random_cell(seed, draw)) for draw in range(1, count))
    own = _by_turns(drawn, _probable(count, distribution, budget))
    policies = (Finalist("darts-policy", policy),) if policy is not None else ()
    others = _by_turns(published(budget), chain(islice(own, 1), policies, own))
    kept = [Finalist(SEARCHED, form(searched))]
    for one in others:
        if len(kept) >= count:
            break
        if not _allowed(one.genotype, budget):
            continue
        genotype = form(one.genotype)
        if all(genotype != other.genotype for other in kept):
            kept.append(Finalist(one.origin, genotype))
    return tuple(kept)


def published(budget: Budget) -> Iterator[Finalist]:
    """The published cells that the space has and the budget allows."""
    for name in PUBLISHED:
        cell = load(name).genotype
        if _in_space(cell, budget.space) and budget.fits(cell):
            yield Finalist(name, Genotype(cell.cells, budget.space.name, budget.space))


def _in_space(genotype: Genotype, space: SearchSpace) -> bool:
    return tuple(genotype.cells) == space.kinds and all(
        len(cell.nodes) == space.cell.nodes
        and cell.concat == space.cell.concat
        and all(edge.op in space.operations for edges in cell.nodes for edge in edges)
        for cell in genotype.cells.values()
    )


def _probable(
    count: int, distribution: ArchitectureDistribution | None, budget: Budget
) -> Iterable[Finalist]:
    if distribution is None:
        return []
    cells = top_cells(distribution, budget.tables, count, budget.limits)
    return [Finalist(f"probable-{rank}", cell.genotype) for rank, cell in enumerate(cells, 1)]


def _by_turns(*groups: Iterable[Finalist]) -> Iterator[Finalist]:
    for row in zip_longest(*groups):
        yield from (one for one in row if one is not None)


def _allowed(genotype: Genotype, budget: Budget) -> bool:
    try:
        genotype.check_buildable()
    except UserError:
        return False
    return budget.fits(genotype)
