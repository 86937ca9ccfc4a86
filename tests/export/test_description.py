from __future__ import annotations

import dataclasses

import pytest

from dots.common.errors import UserError
from dots.export.description import Description
from helpers import exported_run


def description() -> Description:
    info = exported_run.info(centre=0.875)
    return Description(info.name, info, {"test_accuracy": 0.5})


def test_a_description_survives_text() -> None:
    before = description()
    assert Description.from_text(before.to_text(), "here") == before


def test_preprocessing_has_the_keys_of_timm() -> None:
    assert description().preprocessing() == {
        "input_size": [3, 12, 12],
        "mean": [0.4, 0.5, 0.6],
        "std": [0.2, 0.25, 0.3],
        "crop_pct": 0.875,
        "crop_mode": "center",
        "interpolation": "bilinear",
        "num_classes": 10,
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", 2), ("preprocessing", None), ("classes", "ab"), ("classes", ["a"]),
        ("input_size", [3, 12]), ("input_size", [3, 12, 13]), ("std", [0, 1, 1]),
        ("interpolation", "bicubic"), ("crop_pct", -1),
    ],
)  # fmt: skip
def test_damaged_descriptions_are_refused(key: str, value: object) -> None:
    content = description().to_json()
    (content["preprocessing"] if key in content["preprocessing"] else content)[key] = value
    with pytest.raises(UserError, match="here"):
        Description.from_json(content, "here")


def test_an_awkward_name_does_no_harm() -> None:
    odd = dataclasses.replace(description(), name='"""\nimport os\n"""')
    assert Description.from_text(odd.to_text(), "here").name == odd.name
