"""ONNX: one file, checked in ONNX Runtime; any batch size unless a fixed one is chosen.

In 8-bit integers by ONNX Runtime, calibrated on training images.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dots.common.errors import UserError
from dots.data.info import DataInfo
from dots.export.description import KEY, Description
from dots.export.form import Form
from dots.export.images import inputs
from dots.export.layers import INPUT
from dots.export.package import Package
from dots.export.target import Reader, Target

OUTPUT = "logits"
_CALIBRATED = 16
"""Images at a time, for the ranges of the activations."""


def write(package: Package, path: Path) -> None:
    """Write the layer list as an ONNX file: `images` [B, C, H, W] to `logits` [B, classes].

    The description is in the metadata, under "dots"; classes and preprocessing also under
    names of their own, as JSON. Raises UserError where PyTorch's exporter gives up.
    """
    form = package.form
    program = _program(package.module(), form, package.layers.input)
    description = package.description
    program.model.metadata_props[KEY] = description.to_text()
    program.model.metadata_props["classes"] = json.dumps(description.classes)
    program.model.metadata_props["preprocessing"] = json.dumps(description.preprocessing())
    program.model.graph.name = description.name
    program.model.producer_name = "dots"
    with _silence():
        program.save(path, external_data=False)
    if form.int8:
        assert package.calibration is not None
        quantise(path, INPUT, package.calibration, form.batch or _CALIBRATED)


def _program(network: nn.Module, form: Form, shape: tuple[int, ...]) -> torch.onnx.ONNXProgram:
    try:
        with _silence():
            program = torch.onnx.export(
                network,
                (form.example(shape),),
                dynamo=True,
                verbose=False,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=form.dynamic_shapes(),
                opset_version=form.opset,
            )
    except Exception as error:  # versions that do not go together fail anywhere, in any way
        raise UserError(
            f"PyTorch {torch.__version__} cannot export to ONNX with onnxscript "
            f"{version('onnxscript')} ({type(error).__name__}): install the newest of both, or "
            "onnxscript==0.3.0 with PyTorch 2.5"
        ) from error
    assert program is not None
    written = program.model.opset_imports[""]
    if form.opset not in (None, written):
        raise UserError(
            f"--opset {form.opset}: PyTorch {torch.__version__} writes {written} instead; take "
            "that or a newer one"
        )
    return program


class OnnxNetwork:
    """A network in an ONNX file that DOTS wrote, run by ONNX Runtime on the CPU."""

    def __init__(self, path: Path) -> None:
        """Raises UserError where there is no such file, or ONNX Runtime is not installed."""
        if not path.is_file():
            raise UserError(f"no file {str(path)!r}: expected an ONNX network there")
        self._session = _session(path)
        texts = self._session.get_modelmeta().custom_metadata_map
        if KEY not in texts:
            raise UserError(
                f"{str(path)!r} was not exported by DOTS: it does not say how to prepare images"
            )
        self.description = Description.from_text(texts[KEY], repr(str(path)))

    @property
    def info(self) -> DataInfo:
        """How images are prepared, and what the classes are called."""
        return self.description.info

    def logits(self, images: Tensor) -> Tensor:
        """Logits [B, classes] of normalised images [B, C, H, W]."""
        size = self._session.get_inputs()[0].shape[0]
        if not isinstance(size, int):
            return self._run(images)
        parts = torch.split(images, size)
        short = size - len(parts[-1])  # of a last part, which is filled up
        filled = torch.cat([parts[-1], parts[-1][:1].expand(short, -1, -1, -1)])
        return torch.cat([self._run(part) for part in (*parts[:-1], filled)])[: len(images)]

    def _run(self, images: Tensor) -> Tensor:
        feed = {INPUT: images.contiguous().cpu().numpy()}
        (result,) = self._session.run([OUTPUT], feed)
        return torch.from_numpy(result)


def _session(path: Path) -> Any:
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as errors
    except ImportError:
        raise UserError(
            f"{str(path)!r} needs onnxruntime: pip install 'dots-nas[export]'"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    refusals = (
        errors.Fail,
        errors.InvalidArgument,
        errors.InvalidGraph,
        errors.InvalidProtobuf,
        errors.NoModel,
        errors.NoSuchFile,
        errors.NotImplemented,
        errors.RuntimeException,
    )
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except refusals as error:
        line = (str(error).splitlines() or ["it cannot be read"])[0]
        raise UserError(f"{str(path)!r} is no ONNX network: {line}") from None


def answers(path: Path, files: Sequence[Path], reader: Reader) -> Tensor:
    """Probabilities [N, classes] from the file; the first image alone, the others together."""
    network = OnnxNetwork(path)
    images = inputs(files, network.info)
    parts = [part for part in (images[:1], images[1:]) if len(part)]
    return torch.softmax(torch.cat([network.logits(part) for part in parts]), dim=1)


@contextmanager
def _silence() -> Iterator[None]:
    """Exporter and quantiser tell much of themselves that concerns no user, the root logger too."""
    loggers = [logging.getLogger(name) for name in ("", "torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


TARGET = Target(
    "onnx",
    ".onnx",
    ("onnx", "onnxscript", "onnxruntime"),
    "export",
    write,
    answers,
    load=lambda path: OnnxNetwork(path).logits,
    choices=frozenset({"half", "int8", "opset", "batch", "any_size"}),
)


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
