"""candidates.json, and anyone's scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dots.common.errors import UserError
from dots.space.candidates import read_candidates, to_record
from dots.space.retain import retain
from dots.space.search_space import darts_space

SPACE = darts_space(nodes=1)
SCORES = {
    "normal": [[0.1, 0.2, 0.1, 0.4, 0.6, 0.1, 0.2, 0.1], [0.0, 0.9, 0.1, 0.2, 0.3, 0.4, 0.1, 0.0]],
    "reduce": [[0.5, 0.2, 0.1, 0.4, 0.6, 0.1, 0.2, 0.7], [0.0, 0.1, 0.1, 0.2, 0.3, 0.4, 0.1, 0.0]],
}


def _write(tmp_path: Path, value: Any) -> Path:
    path = tmp_path / "file.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_ours_come_back(tmp_path: Path) -> None:
    kept = retain(SPACE, SCORES, "group-v2")
    path = _write(tmp_path, to_record(SPACE, "darts", "group-v2", SCORES, kept).to_json())
    found = read_candidates(path, SPACE, "top1")
    assert found.candidates == kept
    assert found.scores == SCORES


def test_plain_scores_are_retained_by_the_scheme(tmp_path: Path) -> None:
    found = read_candidates(_write(tmp_path, SCORES), SPACE, "top1")
    assert found.candidates["normal"] == (("sep_conv_3x3",), ("max_pool_3x3",))


def test_scores_by_name_in_any_order_and_without_zero(tmp_path: Path) -> None:
    named = {
        kind: [
            {op: row[i] for i, op in reversed(list(enumerate(SPACE.operations))) if op != "none"}
            for row in rows
        ]
        for kind, rows in SCORES.items()
    }
    found = read_candidates(_write(tmp_path, named), SPACE, "group-v2")
    assert found.candidates["reduce"][0] == ("skip_connect", "dil_conv_5x5")


BAD: list[tuple[Any, str]] = [
    ([], "expected an object"),
    ({"normal": SCORES["normal"]}, "expected a list of 2 edges for the reduce cell"),
    ({**SCORES, "normal": SCORES["normal"][:1]}, "found 1 edges"),
    ({**SCORES, "normal": [[1.0], [1.0]]}, "expected 8 numbers"),
    ({**SCORES, "normal": [[1.0] * 7 + ["x"], [1.0] * 8]}, "normal edge 0: 'x' is not a finite"),
    ({**SCORES, "normal": [[1.0] * 7 + [True], [1.0] * 8]}, "true is not a finite"),
    ({**SCORES, "normal": [{"sep_conv": 1.0}, [1.0] * 8]}, "unknown operation 'sep_conv'"),
    ({**SCORES, "normal": [{"sep_conv_3x3": 1.0}, [1.0] * 8]}, "no score for max_pool_3x3"),
    ({"version": 2, "candidates": {}}, "version 2 is not 1"),
    ({"space": "nasbench201", "candidates": {}}, "is for the space 'nasbench201'"),
    ({"candidates": {"normal": [[], []], "reduce": [[], []]}}, "at least one"),
    ({"candidates": {k: [["none"]] * 2 for k in SCORES}}, "only 'none' is left"),
    ({"candidates": {k: [["sep_conv_9x9"]] * 2 for k in SCORES}}, "unknown operation"),
    ({"candidates": {k: [["skip_connect"] * 2] * 2 for k in SCORES}}, "stands there twice"),
    ("{", "is not JSON"),
    ("[" * 100_000, "nested too deeply"),
    ('{"normal": [[1e400, 0,0,0,0,0,0,0]], "reduce": []}', "expected a list of 2 edges"),
]


@pytest.mark.parametrize(("value", "message"), BAD)
def test_what_does_not_fit_is_named(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        read_candidates(_write(tmp_path, value), SPACE, "group-v2")
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file .*absent\.json"):
        read_candidates(tmp_path / "absent.json", SPACE, "top1")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["normal", "reduce", "candidates", "scores", "version", "none", "x"]),
            inner,
        )
    ),
    max_leaves=20,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(JSON)
def test_anything_else_is_refused_in_one_line(tmp_path: Path, value: Any) -> None:
    path = _write(tmp_path, json.dumps(value))
    with pytest.raises(UserError) as raised:
        read_candidates(path, SPACE, "top1")
    assert "\n" not in str(raised.value)
