"""Whatever stands in the files, as long as it is JSON, gives a page and not an exception."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dots.report import write_report
from dots.report.progress import progress_of
from dots.report.reading import KNOWN_FILES, read_run
from helpers.fabricated_plan import Plan
from helpers.fabricated_run import fabricate
from helpers.html_pages import check

SMALL = Plan(nodes=2, epochs=(2, 2, 2), classes=("cat", "dog"), winner="GDAS_V1")
Place = tuple[Any, ...]

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 10**6)
    | st.floats(-1e6, 1e6)
    | st.sampled_from([float("nan"), float("inf"), 1e308, "pairs", "any", "nasbench201", "s3"])
    | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


def places(value: Any, here: Place = ()) -> Iterator[Place]:
    """Every place in a JSON value."""
    yield here
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*here, key))


def replaced(value: Any, place: Place, new: Any) -> Any:
    """The value with `new` at a place."""
    if not place:
        return new
    key, *rest = place
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[key] = replaced(value[key], tuple(rest), new)
    return copy


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fabricate(tmp_path_factory.mktemp("runs") / "run", SMALL)


@settings(
    deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_strange_value_anywhere(original: Path, tmp_path: Path, data: st.DataObject) -> None:
    run = tmp_path / "copy"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(original, run)
    path = run / data.draw(st.sampled_from(KNOWN_FILES))
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    number = data.draw(st.integers(0, len(lines) - 1))
    content = json.loads(lines[number])
    place = data.draw(st.sampled_from(list(places(content))))
    lines[number] = json.dumps(replaced(content, place, data.draw(values)))
    path.write_text("\n".join(lines) + "\n")
    check(write_report(run).read_text())
    progress_of(read_run(run))
