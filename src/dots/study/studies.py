"""The studies there are, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from dots.common.errors import UserError, did_you_mean
from dots.study.ablation import Ablation
from dots.study.base import Study
from dots.study.options import Options
from dots.study.plug_in import PlugIn
from dots.study.rank_benchmark import RankBenchmark
from dots.study.rank_trained import RankTrained
from dots.study.repeat import AgainstRandom, Repeat

STUDIES: Mapping[str, type[Study]] = MappingProxyType(
    {
        "plug-in": PlugIn,
        "rank": RankTrained,
        "ablation": Ablation,
        "repeat": Repeat,
        "random": AgainstRandom,
    }
)


def make_study(name: str, options: Options) -> Study:
    """The study called `name`; "rank" takes its accuracies from a table where there is one.

    Raises UserError for an unknown name, and for options that cannot be.
    """
    if name not in STUDIES:
        raise UserError(f"unknown study {name!r}: {did_you_mean(name, STUDIES)}")
    chosen = STUDIES[name]
    if name == "rank" and options.table is not None:
        chosen = RankBenchmark
    study = chosen(options)
    study.check()
    return study
