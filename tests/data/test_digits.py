from __future__ import annotations

from dots.data.sources.arrays import read_digits
from dots.data.sources.records import as_tensor


def test_digits() -> None:
    source = read_digits()
    pixels = as_tensor(source.train.records)
    assert pixels is not None
    assert pixels.shape == (1797, 8, 8, 1)
    assert (int(pixels.min()), int(pixels.max())) == (0, 255)
    assert source.classes == tuple("0123456789")
    assert source.test is None
    assert not source.flip, "a mirrored digit is no digit"
