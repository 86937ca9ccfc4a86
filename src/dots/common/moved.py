"""Modules under other names: a short one, and those that they had before, which say so."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import CodeType, MappingProxyType, ModuleType

MOVED: Mapping[str, str] = MappingProxyType(
    {
        "dots.additive": "dots.nas.budget.cost_table",
        "dots.beliefs": "dots.nas.budget.distribution",
        "dots.budget": "dots.nas.budget.most_probable",
        "dots.cell": "dots.space.cell",
        "dots.cost": "dots.networks.count",
        "dots.derived": "dots.networks.derived",
        "dots.draw": "dots.space.drawing.svg",
        "dots.errors": "dots.common.errors",
        "dots.expected": "dots.nas.budget.penalty",
        "dots.genotype": "dots.space.genotype",
        "dots.jobs": "dots.runs.launch",
        "dots.native": "dots.networks.kernels.native",
        "dots.network": "dots.networks.body",
        "dots.norm": "dots.networks.norm",
        "dots.operations": "dots.networks.operations.registry",
        "dots.ops": "dots.networks.operations.candidates",
        "dots.profile": "dots.nas.budget.latency",
        "dots.reference": "dots.networks.reference",
        "dots.relax": "dots.nas.relaxation",
        "dots.report.drawing": "dots.space.drawing",
        "dots.report.drawing.svg": "dots.space.drawing.svg",
        "dots.saved": "dots.networks.saved",
        "dots.skeletons": "dots.networks.skeletons",
        "dots.strategies": "dots.nas.strategies",
        "dots.strategies.base": "dots.nas.strategies.base",
        "dots.strategies.darts": "dots.nas.strategies.darts",
        "dots.strategies.sdarts": "dots.nas.strategies.sdarts",
        "dots.supernet": "dots.networks.supernet",
        "dots.timm": "dots.export.timm",
        "dots.topology": "dots.nas.topology",
        "dots.topology_stage": "dots.nas.topology_search",
        "dots.use": "dots.runs.predict",
    }
)
"""The modules that the documentation of version 0.1.0 named."""

SHORT: Mapping[str, str] = MappingProxyType({"dots.nn": "dots.nas.own_models"})
"""Modules that are meant to be imported under another name than that of their room."""

RENAMED: Mapping[str, str] = MappingProxyType(
    {
        "Allowance": "Budget",
        "Beliefs": "ArchitectureDistribution",
        "beliefs": "architecture_distribution",
        "recorded_beliefs": "recorded_distribution",
    }
)
"""Names in them that have changed."""


class MovedModules(MetaPathFinder, Loader):
    """Finds a module by a short or old name: one with the names of the new.

    After a warning, where the name is old.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec for such a name, None for any other."""
        if fullname not in MOVED and fullname not in SHORT:
            return None
        return ModuleSpec(
            fullname, self, is_package=any(n.startswith(f"{fullname}.") for n in MOVED)
        )

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module with what the new one has."""
        name = module.__name__
        new = SHORT.get(name) or MOVED[name]
        if name in MOVED:
            warnings.warn(f"{name} is now {new}", DeprecationWarning, stacklevel=2)
        names = dict(vars(import_module(new)))
        names.update({old: names[n] for old, n in RENAMED.items() if n in names})
        vars(module).update({k: v for k, v in names.items() if not k.startswith("__")})

    def get_code(self, fullname: str) -> CodeType:
        """What `python -m` runs: the new module."""
        run = f"import runpy; runpy.run_module({MOVED[fullname]!r}, run_name='__main__')"
        return compile(run, fullname, "exec")
