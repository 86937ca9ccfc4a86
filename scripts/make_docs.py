"""Writes the pages of docs/ that are made from the code or from a notebook."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from dots.common.files import read_json, write_text
from dots.nas.strategies import STRATEGIES
from dots.recipe import PRESETS, Recipe, describe, flattened, preset

DOCS = Path(__file__).parent.parent / "docs"
SHOWN_PRESETS = ("tiny", "quick", "paper-cifar")
HEADINGS = {
    "": "General",
    "data": "data: reading, splitting and augmenting images",
    "operations": "operations: the operation search",
    "topology": "topology: the topology search",
    "train": "train: training and test of the found cell",
    "halving": "halving: successive halving of several cells before the training",
    "budget": "budget: what the network may cost",
}

REFERENCE = {
    "dots": ("search", "run", "build", "load", "build_recipe", "UserError"),
    "dots.api": ("Outcome",),
    "dots.nn": ("LayerChoice", "InputChoice", "search", "Outcome", "Choices", "derive"),
    "dots.runs.launch": ("Machine",),
    "dots.recipe": ("preset", "changed", "differences", "to_toml", "describe"),
    "dots.space.genotype": ("Genotype",),
    "dots.space.cell": ("Cell", "Edge"),
    "dots.space.formats": ("read", "is_text"),
    "dots.space.search_space": (
        "SearchSpace",
        "CellSpec",
        "darts_space",
        "nasbench201_space",
        "named_space",
    ),
    "dots.zoo": ("names", "load", "entries", "resolve", "ZooEntry"),
    "dots.networks.body": ("Shape",),
    "dots.networks.derived": ("DerivedNetwork",),
    "dots.networks.skeletons": ("OwnNetwork",),
    "dots.networks.reference": ("build_reference", "reference_cost"),
    "dots.networks.count": ("network_cost", "module_cost", "Cost"),
    "dots.networks.saved": ("TrainedModel", "load_model", "save_network"),
    "dots.runs.predict": ("evaluate_run", "predict_files"),
    "dots.data": ("open_data", "open_test", "prepare", "DataInfo", "Batches", "Augmentation"),
    "dots.nas.budget.distribution": ("architecture_distribution", "recorded_distribution"),
    "dots.nas.budget.most_probable": ("derive_within", "top_cells", "pareto_cells", "Alternative"),
    "dots.nas.budget.latency": ("measure_latencies", "LatencyTable"),
    "dots.nas.budget.penalty": ("expected_cost", "CostPenalty"),
    "dots.space.drawing.svg": ("cell_svg", "genotype_svg"),
    "dots.space.drawing.dot": ("genotype_dot",),
    "dots.report": ("Report", "write_report", "write_comparison"),
    "dots.nas.strategies.base": ("OperationSearch", "GradientSearch", "SearchContext"),
    "dots.networks.supernet": ("Supernet", "Mixture"),
    "dots.networks.operations.source": ("Source", "Parts"),
    "dots.export.target": ("Target",),
    "dots.testing": ("StrategyContract", "OperationContract", "SpaceContract"),
    "dots.nas.topology": ("make_topology", "combinations", "membership"),
}
"""What the reference describes, by module."""


def settings_page() -> str:
    """docs/settings.md: every setting with its values, and what presets make of it."""
    values = {name: dict(flattened(preset(name))) for name in SHOWN_PRESETS}
    lines = [
        "# Settings",
        "",
        "Every setting of a recipe, made from the code by `python scripts/make_docs.py`. Change",
        "one with `--set NAME=VALUE`, or in a TOML file with `--recipe FILE`; `dots recipe PRESET`",
        f"prints such a file. Presets: {', '.join(PRESETS)}.",
    ]
    section = None
    for setting in describe():
        group, _, _ = setting.name.rpartition(".")
        if group != section:
            section = group
            lines += ["", f"## {HEADINGS[group]}", ""]
            lines.append(f"| setting | values | {' | '.join(SHOWN_PRESETS)} | meaning |")
            lines.append("|" + "---|" * (3 + len(SHOWN_PRESETS)))
        shown = [_value(values[name].get(setting.name)) for name in SHOWN_PRESETS]
        cells = [f"`{setting.name}`", setting.allowed, *shown, setting.description]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    lines += ["", "## method: the operation-search method's own settings", ""]
    lines += ["| method | settings |", "|---|---|"]
    for name, strategy in STRATEGIES.items():
        own = ", ".join(f"`{field}`" for field in strategy.Settings.model_fields) or "none"
        lines.append(f"| [{name}](methods/{name}.md) | {own} |")
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case list():
            return ", ".join(map(str, value)) or "none"
        case dict():
            return "the published"
        case _:
            return f"{value}"


def reference_page() -> str:
    """docs/reference.md: signatures and docstrings."""
    lines = [
        "# Reference",
        "",
        "Made from the docstrings by `python scripts/make_docs.py`. [From Python](python.md) shows",
        "how the parts are used together.",
    ]
    for module, names in REFERENCE.items():
        lines += ["", f"## {module}", ""]
        about = inspect.getdoc(import_module(module)) or ""
        lines += [about.split("\n\n")[0], ""] if module != "dots" else []
        for name in names:
            lines += _entry(name, getattr(import_module(module), name))
    return "\n".join(lines).rstrip() + "\n"


def _entry(name: str, thing: Any) -> Iterator[str]:
    yield f"### {name}"
    yield ""
    yield from ["```text", f"{name}{_signature(thing)}", "```", ""]
    yield from (_prose(thing), "")
    if inspect.isclass(thing) and not issubclass(thing, Exception | Recipe):
        methods = [
            (key, member)
            for key, member in vars(thing).items()
            if not key.startswith("_") and _documented(member)
        ]
        for key, member in methods:
            first = _prose(member).split("\n\n")[0].replace("\n", " ")
            yield f"- `{key}{_signature(member)}`: {first}"
        if methods:
            yield ""


def _documented(member: Any) -> bool:
    function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
    if isinstance(function, property):
        return bool(function.__doc__)
    return inspect.isfunction(function) and bool(function.__doc__)


def _prose(thing: Any) -> str:
    function = thing.__func__ if isinstance(thing, classmethod | staticmethod) else thing
    return (inspect.getdoc(function) or "").replace("<", "\\<")


def _signature(thing: Any) -> str:
    if isinstance(thing, property):
        return ""
    function = thing.__func__ if isinstance(thing, classmethod | staticmethod) else thing
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    kept = [
        p.replace(annotation=_bare(p.annotation), default=_default(p.default))
        for key, p in signature.parameters.items()
        if key not in ("self", "cls")
    ]
    returned = _bare(signature.return_annotation)
    if inspect.isclass(thing):
        returned = inspect.Signature.empty
    return str(signature.replace(parameters=kept, return_annotation=returned))


class _Bare:
    """An annotation that is written without quotes."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _default(value: Any) -> Any:
    named = inspect.isclass(value) and value is not inspect.Parameter.empty
    return _Bare(value.__name__) if named else value


def _bare(annotation: Any) -> Any:
    return _Bare(annotation) if isinstance(annotation, str) else annotation


def notebook_page() -> str:
    """docs/notebook.md: the cells of docs/notebook.ipynb."""
    cells = read_json(DOCS / "notebook.ipynb", what="a notebook")["cells"]
    texts = [(cell["cell_type"] == "code", "".join(cell["source"])) for cell in cells]
    blocks = [f"```python\n{text}\n```" if code else text for code, text in texts]
    first, *rest = blocks
    return "\n\n".join([first, "[This page as a notebook](notebook.ipynb).", *rest]) + "\n"


PAGES = {"settings.md": settings_page, "reference.md": reference_page, "notebook.md": notebook_page}


def main() -> None:
    """Write the pages."""
    for name, make in PAGES.items():
        write_text(DOCS / name, make())
        print(DOCS / name)


if __name__ == "__main__":
    main()
