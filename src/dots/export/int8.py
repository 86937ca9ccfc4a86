"""Static quantisation to 8-bit integers by ONNX Runtime, calibrated on training images."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dots.common.errors import UserError


def quantise(path: Path, input_name: str, images: Tensor, batch: int) -> None:
    """Replace the ONNX file at `path` by its quantised form.

    Activations are unsigned and take their ranges (least to greatest) from `images`
    [N, C, H, W], `batch` at a time; weights are signed, of 7 bits, with a scale for each channel.
    Raises UserError where ONNX Runtime gives up.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    rows = torch.arange(-(-len(images) // batch) * batch) % len(images)  # the last batch is whole
    reader = _reader(input_name, (images[some] for some in torch.split(rows, batch)))
    prepared = path.with_name(f"prepared-{path.name}")
    try:
        with _silence():
            quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(path),
                reader,
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,  # processors without VNNI add two products in 16 bits
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
    except Exception as error:  # its own and those of ONNX, of many kinds
        line = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UserError(f"ONNX Runtime cannot quantise the network: {line}") from error
    finally:
        prepared.unlink(missing_ok=True)


def _reader(input_name: str, batches: Iterator[Tensor]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # untyped where it is installed
        """The images, batch by batch."""

        def get_next(self) -> dict[str, Any] | None:
            batch = next(batches, None)
            return None if batch is None else {input_name: batch.numpy()}

    return Reader()


@contextmanager
def _silence() -> Iterator[None]:
    """It tells the root logger much of itself that concerns no user."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
