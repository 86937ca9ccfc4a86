from __future__ import annotations

import json
from typing import Any

import pytest

from dots.common.errors import UserError
from dots.data.info import DataInfo

INFO = DataInfo("x", ("a\nb", "c"), 3, 32, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), False, 0.875)


def test_round_trip() -> None:
    text = json.dumps(INFO.to_json())
    assert DataInfo.from_json(json.loads(text), where="data.json") == INFO


def test_what_older_files_lack() -> None:
    value = INFO.to_json()
    del value["centre"]
    assert DataInfo.from_json(value, where="data.json").centre == 1.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 3),
        ("classes", ["only"]),
        ("classes", [1, 2]),
        ("channels", 0),
        ("channels", True),
        ("channels", 10**9),
        ("image_size", "32"),
        ("mean", [0.1]),
        ("mean", [0.1, 0.2, float("nan")]),
        ("std", [1, 1, 0]),
        ("std", [1, 1, "1"]),
        ("flip", 1),
        ("centre", 0),
    ],
)
def test_values_that_cannot_be(field: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"data\.json: the field '{field}' has a value"):
        DataInfo.from_json({**INFO.to_json(), field: value}, where="data.json")


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_no_object(value: Any) -> None:
    with pytest.raises(UserError, match=r"data\.json: expected an object"):
        DataInfo.from_json(value, where="data.json")
    with pytest.raises(UserError, match=r"data\.json: classes, mean and std must be lists"):
        DataInfo.from_json({**INFO.to_json(), "mean": 3}, where="data.json")
    value = INFO.to_json()
    del value["std"]
    with pytest.raises(UserError, match=r"data\.json: the field 'std' is missing"):
        DataInfo.from_json(value, where="data.json")
