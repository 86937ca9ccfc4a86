"""Old names of modules still work, and say the new ones."""

from __future__ import annotations

import runpy
import sys
import warnings
from importlib import import_module

import pytest

from dots.common.moved import MOVED, MovedModules

NAMES = {
    "dots.additive": "counted_tables",
    "dots.beliefs": "beliefs",
    "dots.budget": "derive_within",
    "dots.cost": "network_cost",
    "dots.derived": "DerivedNetwork",
    "dots.draw": "genotype_svg",
    "dots.expected": "expected_cost",
    "dots.genotype": "Genotype",
    "dots.jobs": "Machine",
    "dots.network": "Shape",
    "dots.norm": "BatchNorm",
    "dots.profile": "measure_latencies",
    "dots.reference": "build_reference",
    "dots.skeletons": "OwnNetwork",
    "dots.strategies.base": "GradientSearch",
    "dots.strategies.darts": "Darts",
    "dots.supernet": "Mixture",
    "dots.topology": "make_topology",
    "dots.use": "evaluate_run",
}
"""What the documentation of version 0.1.0 imported from them."""


@pytest.mark.parametrize("old", sorted(MOVED))
def test_every_new_place_is_there(old: str) -> None:
    if old != "dots.timm":  # needs timm
        import_module(MOVED[old])


@pytest.mark.parametrize(("old", "name"), NAMES.items())
def test_an_old_name_is_the_new_one_with_a_warning(old: str, name: str) -> None:
    sys.modules.pop(old, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        if old.count(".") > 1:
            import_module(old.rpartition(".")[0])
    with pytest.warns(DeprecationWarning, match=rf"{old} is now {MOVED[old]}"):
        module = import_module(old)
    assert getattr(module, name) is getattr(import_module(MOVED[old]), name)


def test_names_of_the_old_module_of_spaces() -> None:
    from dots.space import search_space

    with pytest.warns(DeprecationWarning, match=r"now dots\.space\.search_space\.darts_space"):
        from dots.space import darts_space
    assert darts_space is search_space.darts_space
    with pytest.raises(ImportError, match="no_such"):
        from dots.space import no_such  # type: ignore[attr-defined]  # noqa: F401


def test_an_old_module_still_runs_as_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, str]] = []
    monkeypatch.setattr(runpy, "run_module", lambda name, run_name: ran.append((name, run_name)))
    exec(MovedModules().get_code("dots.native"))
    assert ran == [("dots.networks.kernels.native", "__main__")]


def test_what_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        import_module("dots.no_such_module")
