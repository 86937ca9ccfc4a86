from __future__ import annotations

import pytest
import torch

from dots.common.errors import UserError
from dots.export.verify import compare

EXPECTED = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.45, 0.45 - 1e-5]])


def test_what_is_close_passes_and_says_how_close() -> None:
    found = EXPECTED + torch.tensor([5e-5, -5e-5, 0.0])
    comparison = compare(EXPECTED, torch.where(EXPECTED > 0.6, found, EXPECTED))
    assert comparison.images == 2
    assert comparison.largest == pytest.approx(5e-5, rel=1e-2)
    assert str(comparison) == "same top-1 on 2 images, largest difference 5.0e-05"


@pytest.mark.parametrize("change", ["far", "class", "nan", "shape"])
def test_what_differs_is_refused(change: str) -> None:
    found = EXPECTED.clone()
    match change:
        case "far":
            found[0, 0] -= 2e-4
        case "class":
            found[1, 2] += 2e-5
        case "nan":
            found[0] = float("nan")
        case "shape":
            found = found[:, :2]
    with pytest.raises(UserError, match="exported network"):
        compare(EXPECTED, found)
