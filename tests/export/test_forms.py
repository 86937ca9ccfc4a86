"""Exports of less precision and of chosen sizes: what they are, what they lost, what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from dots.cli.app import run as dots
from dots.common.errors import UserError
from dots.export import export_run
from dots.export import run as exporting
from dots.export.form import Form
from dots.export.onnx import OnnxNetwork
from dots.export.package import read_package
from dots.export.run_images import read_run_images
from dots.export.verify import Comparison, Loss, loss, milliseconds
from helpers import exported_run

SMALL = [
    "--preset", "tiny", "--quiet", "--device", "cpu", "--set", "data.limit=400",
    "--set", "train.cells=3", "--set", "train.epochs=10",
]  # fmt: skip


def has_onnx() -> None:
    for module in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason=f"--to onnx needs {module} (the test extra)")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training on digits, whose data can be had again."""
    path = tmp_path_factory.mktemp("forms") / "run"
    assert dots(["train", "DARTS_V2", "digits", "--out", str(path), *SMALL]) == 0
    return path


def types(path: Path) -> set[str]:
    """The names of the operations in an ONNX file."""
    import onnx

    return {node.op_type for node in onnx.load(path).graph.node}


@pytest.mark.slow
@pytest.mark.parametrize("form", [Form(half=True), Form(int8=True)])
def test_what_less_precision_lost_is_counted_on_test_images(
    trained: Path, tmp_path: Path, form: Form
) -> None:
    has_onnx()
    done = export_run(trained, "onnx", out=tmp_path / "made.onnx", form=form)
    found = done.comparison
    assert isinstance(found, Loss)
    network, package = OnnxNetwork(done.path), read_package(trained)
    images = read_run_images(trained, network.info)
    assert found.images == len(images.test) == 359
    right = [float((c.argmax(1) == images.labels).double().mean())
             for c in (package.logits(images.test), network.logits(images.test))]  # fmt: skip
    assert found.accuracies == pytest.approx(right)
    assert right[0] > 0.5
    assert found.lost is not None
    assert abs(found.lost) < 0.05
    assert 0 < found.largest < 0.5
    assert f"{100 * found.lost:.2f} points lost" in str(found)
    assert ("QuantizeLinear" in types(done.path)) == form.int8
    assert done.path.stat().st_size < 2.0e6


def test_half_has_weights_of_16_bits_and_takes_and_gives_32(trained: Path, tmp_path: Path) -> None:
    path = export_run(trained, "torch", out=tmp_path / "half.pt2", form=Form(half=True)).path
    program = torch.export.load(path)
    assert {value.dtype for value in program.state_dict.values()} == {torch.float16}
    assert program.module()(torch.zeros(3, 1, 8, 8)).dtype == torch.float32


def test_without_its_data_half_is_compared_on_samples_and_int8_refused(
    run: Path, tmp_path: Path
) -> None:
    done = export_run(run, "torch", out=tmp_path / "half.pt2", form=Form(half=True))
    assert isinstance(done.comparison, Loss)
    assert (done.comparison.images, done.comparison.accuracies) == (6, None)
    assert "points" not in str(done.comparison)
    has_onnx()
    with pytest.raises(UserError, match="--int8 calibrates on"):
        export_run(run, "onnx", out=tmp_path / "made.onnx", form=Form(int8=True))
    assert not (tmp_path / "made.onnx").exists()


def test_other_data_are_refused(trained: Path) -> None:
    info = read_package(trained).trained.info
    moved = read_run_images(trained, info, "digits")
    assert len(moved.training) == 256
    with pytest.raises(UserError, match="other data"):
        read_run_images(trained, exported_run.info(), "digits")


@pytest.mark.slow
def test_opsets(run: Path, tmp_path: Path) -> None:
    has_onnx()
    import onnx

    path = export_run(run, "onnx", out=tmp_path / "21.onnx", form=Form(opset=21)).path
    assert onnx.load(path).opset_import[0].version == 21
    with pytest.raises(UserError, match=r"--opset 3: PyTorch .* writes \d+ instead"):
        export_run(run, "onnx", out=tmp_path / "3.onnx", form=Form(opset=3))
    assert [file.name for file in tmp_path.iterdir()] == ["21.onnx"]


def test_a_fixed_number_of_images(run: Path, tmp_path: Path) -> None:
    has_onnx()
    path = export_run(run, "onnx", out=tmp_path / "made.onnx", form=Form(batch=4)).path
    import onnx

    shape = onnx.load(path).graph.input[0].type.tensor_type.shape
    assert [side.dim_value for side in shape.dim] == [4, 3, 12, 12]
    images = torch.randn(6, 3, 12, 12)
    torch.testing.assert_close(
        OnnxNetwork(path).logits(images), read_package(run).logits(images), rtol=1e-4, atol=1e-5
    )


@pytest.mark.slow
def test_any_size(run: Path, tmp_path: Path) -> None:
    has_onnx()
    path = export_run(run, "onnx", out=tmp_path / "made.onnx", form=Form(any_size=True)).path
    images = torch.randn(1, 3, 24, 16)
    torch.testing.assert_close(
        OnnxNetwork(path).logits(images), read_package(run).logits(images), rtol=1e-4, atol=1e-5
    )


@pytest.mark.slow
def test_a_network_of_odd_sides_is_of_them_alone(tmp_path: Path) -> None:
    has_onnx()
    odd = exported_run.make_run(tmp_path / "run", None, exported_run.info(size=11))
    with pytest.raises(UserError, match="holds at 11 pixels a side alone"):
        export_run(odd, "onnx", out=tmp_path / "made.onnx", form=Form(any_size=True))
    assert not (tmp_path / "made.onnx").exists()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--to", "code", "--half"], "--to code has no --half"),
        (["--to", "torch", "--any-size"], "--to torch has no --any-size"),
        (["--to", "onnx", "--half", "--int8"], "exclude each other"),
        (["--to", "onnx", "--batch", "0"], "from 1 up"),
        (["--to", "all", "--half"], "--to all writes every form"),
    ],
)
def test_mistakes_are_one_line(
    run: Path, capsys: pytest.CaptureFixture[str], words: list[str], error: str
) -> None:
    assert dots(["export", str(run), *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert error in line
    assert not (run / "export").exists() or not list((run / "export").glob("*"))


def test_what_does_not_build_says_why(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object, **named: object) -> None:
        raise RuntimeError("no compiler\nand much more")

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", fail)
    with pytest.raises(UserError, match=r"does not build here \(RuntimeError: no compiler\)"):
        export_run(run, "aoti", out=tmp_path / "made.pt2")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_all_says_what_is_missing_and_measures_the_rest(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = {name: exporting.TARGETS[name] for name in ("torch", "safetensors", "code", "jax")}
    monkeypatch.setattr(exporting, "TARGETS", kept)
    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    out = tmp_path / "out"
    assert dots(["export", str(run), "--to", "all", "--measure", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "jax: --to jax needs jax" in printed
    made = ["code", "network-half.pt2", "network.pt2", "safetensors"]
    assert sorted(file.name for file in out.iterdir()) == made
    rows = {line.split("│")[1].strip(): line.split("│") for line in printed.splitlines()
            if line.startswith("│")}  # fmt: skip
    assert sorted(rows) == ["PyTorch", "code", "safetensors", "torch", "torch-half"]
    assert rows["code"][4].strip() == "-"
    assert all(float(rows[name][4]) > 0 for name in rows if name != "code")


def test_losses() -> None:
    expected = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]])
    found = torch.tensor([[0.8, 0.2], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
    lost = loss(expected, found, torch.tensor([0, 0, 1, 0]))
    assert (lost.images, lost.moved, lost.accuracies, lost.lost) == (4, 1, (0.75, 0.5), 0.25)
    assert lost.largest == pytest.approx(0.2)
    assert Comparison(1, 0.0).lost is None
    with pytest.raises(UserError, match="overflows"):
        loss(expected, found / 0 * 0)


def test_a_slow_network_takes_longer() -> None:
    def calls(count: int) -> float:
        return milliseconds(lambda x: [x @ x for _ in range(count)][-1], torch.zeros(64, 64))

    assert calls(100) > 2 * calls(1)


@pytest.mark.slow
def test_a_compiled_package_is_the_network(run: Path, tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("AOTInductor needs a C++ compiler")
    done = export_run(run, "aoti", out=tmp_path / "made.pt2")
    assert isinstance(done.comparison, Comparison)
    assert done.comparison.largest < 1e-5
