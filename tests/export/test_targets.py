"""Each way out, whole: written, loaded again, equal on real images; refused where it is not."""

from __future__ import annotations

import ast
import base64
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from dots.cli.app import run as dots
from dots.common.errors import UserError
from dots.export import export_run
from dots.export import run as exporting
from dots.export.description import Description
from dots.export.folders import read
from dots.export.package import Package, read_package
from dots.networks.saved import save_network
from helpers import exported_run

TARGETS = exporting.TARGETS
BRITTLE = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "timm": ("timm",)}


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The export to a target, made once; skips where what it needs is not installed."""
    done: dict[str, Path] = {}

    def make(to: str) -> Path:
        for module in BRITTLE.get(to, ()):
            pytest.importorskip(module, reason=f"--to {to} needs {module} (the test extra)")
        if to not in done:
            out = tmp_path_factory.mktemp(to) / f"made{TARGETS[to].suffix}"
            result = export_run(run, to, out=out)
            assert result.comparison.images == 6
            assert result.comparison.largest < 1e-5
            done[to] = result.path
        return done[to]

    return make


@pytest.mark.parametrize("to", ["onnx", "torch", "code", "safetensors", "timm", "hub"])
def test_the_export_is_the_network(exported: Callable[[str], Path], to: str) -> None:
    path = exported(to)
    assert path.exists()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_onnx_tells_how_to_use_it(exported: Callable[[str], Path]) -> None:
    path = exported("onnx")
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    texts = session.get_modelmeta().custom_metadata_map
    assert json.loads(texts["classes"]) == list(exported_run.CLASSES)
    assert json.loads(texts["preprocessing"])["mean"] == [0.4, 0.5, 0.6]
    (images,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.shape[1:]) == ("images", [3, 12, 12])
    assert isinstance(images.shape[0], str)  # any number of images
    assert logits.name == "logits"
    found = session.run(None, {"images": torch.zeros(5, 3, 12, 12).numpy()})[0]
    assert found.shape == (5, 10)


def test_versions_that_do_not_go_together_are_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript", reason="--to onnx needs onnxscript (the test extra)")

    def give_up(*given: object, **named: object) -> None:
        raise torch.onnx.OnnxExporterError("many lines\nabout its inside")

    monkeypatch.setattr(torch.onnx, "export", give_up)
    with pytest.raises(UserError, match=r"with onnxscript [\d.]+ \(OnnxExporterError\): install"):
        export_run(run, "onnx", out=tmp_path / "made.onnx")
    assert not list(tmp_path.iterdir())


def test_the_program_runs_without_dots(exported: Callable[[str], Path]) -> None:
    path = exported("torch")
    code = (
        f"import torch\nextra = {{'dots.json': ''}}\n"
        f"program = torch.export.load({str(path)!r}, extra_files=extra)\n"
        "assert program.module()(torch.zeros(7, 3, 12, 12)).shape == (7, 10)\n"
        "import sys; assert not any(name.startswith('dots') for name in sys.modules)\n"
        "print(extra['dots.json'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    described = Description.from_text(done.stdout.strip().splitlines()[-1], "here")
    assert described.classes == exported_run.CLASSES


def test_the_code_is_readable_and_needs_torch_alone(exported: Callable[[str], Path]) -> None:
    text = (exported("code") / "network.py").read_text()
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"torch", "PIL"}
    assert max(map(len, text.splitlines())) <= 100
    assert "node 2 = sep_conv_3x3(0) + avg_pool_3x3(1)" in text
    assert "class NormalCell(nn.Module):" in text


def test_the_code_classifies_from_the_command_line(
    exported: Callable[[str], Path], tmp_path: Path
) -> None:
    path = exported("code")
    assert sorted(entry.name for entry in path.iterdir()) == ["network.py", "weights.pt"]
    file = tmp_path / "one.png"
    file.write_bytes(base64.b64decode(exported_run.digits(exported_run.info(), 1)[0]))
    done = subprocess.run(
        [sys.executable, str(path / "network.py"), str(file)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"{file}: ")
    assert line.count(" %") == 5


def test_code_of_many_cells_has_few_classes(tmp_path: Path) -> None:
    network = exported_run.network(cells=8)
    path = exported_run.make_run(tmp_path / "run", network)
    text = (export_run(path, "code").path / "network.py").read_text()
    classes = [n.name for n in ast.parse(text).body if isinstance(n, ast.ClassDef)]
    assert classes == ["Stem", "NormalCell", "NormalCell2", "ReduceCell", "NormalCell3",
                       "Head", "Network"]  # fmt: skip


@pytest.mark.parametrize("size", [11, 16])
def test_other_sizes_channels_and_crops(tmp_path: Path, size: int) -> None:
    """Odd maps pad, one channel is grey, the crop is smaller than the picture."""
    about = exported_run.info(channels=1, size=size, centre=0.875)
    network = exported_run.network(image_channels=1)
    path = exported_run.make_run(tmp_path / "run", network, about)
    for to in ("safetensors", "code"):
        assert export_run(path, to).comparison.largest < 1e-5


def test_images_of_the_users_own(run: Path, tmp_path: Path) -> None:
    for number in range(3):
        colour = (80 * number, 40, 200)
        Image.new("RGB", (50 + number, 40), colour).save(tmp_path / f"{number}.jpg")
    done = export_run(run, "safetensors", out=tmp_path / "out", images=[tmp_path])
    assert done.comparison.images == 3


def test_networks_of_other_images_are_compared_on_arrays(tmp_path: Path) -> None:
    about = replace(exported_run.info(), channels=5, mean=(0.5,) * 5, std=(0.2,) * 5)
    path = tmp_path / "run"
    exported_run.make_run(path, exported_run.network(image_channels=5), exported_run.info())
    save_network(path, exported_run.network(image_channels=5), about)
    assert export_run(path, "torch").comparison.images == 8
    with pytest.raises(UserError, match="1 or 3 channels"):
        export_run(path, "code")


def test_an_export_that_differs_is_refused_and_removed(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = TARGETS["safetensors"]

    def wrong(package: Package, path: Path) -> None:
        name = package.layers.tensors[-1]
        package.tensors[name].add_(torch.arange(10.0))  # the bias of the classifier
        target.write(package, path)

    monkeypatch.setattr(exporting, "TARGETS", {"safetensors": replace(target, write=wrong)})
    with pytest.raises(UserError, match="differs: another class on"):
        export_run(run, "safetensors", out=tmp_path / "deep" / "out")
    assert list((tmp_path / "deep").iterdir()) == []


@pytest.mark.parametrize("text", ["raise SystemExit(3)", "print('nothing')", "print('[[1, 2]]')"])
def test_a_program_that_fails_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    target = TARGETS["code"]

    def wrong(package: Package, path: Path) -> None:
        target.write(package, path)
        (path / "network.py").write_text(text)

    monkeypatch.setattr(exporting, "TARGETS", {"code": replace(target, write=wrong)})
    with pytest.raises(UserError, match=r"exported (program|network)"):
        export_run(run, "code", out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.write_text("precious")
    with pytest.raises(UserError, match="exists"):
        export_run(run, "hub", out=out)
    assert out.read_text() == "precious"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["{run}", "--to", "onxx"], "did you mean 'onnx'"),
        (["nowhere", "--to", "onnx"], "no run 'nowhere'"),
        (["{run}", "--to", "safetensors", "--images", "nowhere.png"], "nowhere.png"),
        (["{run}", "--to", "code", "--python", "/nowhere/python"], "did not run"),
        (["{run}", "--to", "safetensors", "--out", "/proc/nowhere/x"], "cannot write"),
    ],
)
def test_mistakes_are_one_line(
    run: Path, capsys: pytest.CaptureFixture[str], words: list[str], error: str
) -> None:
    assert dots(["export", *(word.format(run=run) for word in words)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert error in line
    assert not (run / "export").exists() or not list((run / "export").glob("*"))


def test_what_is_not_installed_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs timm: pip install 'dots-nas\[timm\]'$"):
        export_run(run, "timm")
    with pytest.raises(UserError, match=r"\[jax\]', or give --python"):
        export_run(run, "jax")


def test_a_run_without_samples_asks_for_images(tmp_path: Path) -> None:
    path = exported_run.make_run(tmp_path / "run")
    (path / "samples.json").unlink()
    with pytest.raises(UserError, match="--images"):
        export_run(path, "safetensors")


def test_the_layers_hold_everything(run: Path, exported: Callable[[str], Path]) -> None:
    network, description = read(exported("safetensors"))
    package = read_package(run)
    images = torch.randn(2, 3, 12, 12)
    torch.testing.assert_close(network(images), package.logits(images), rtol=1e-4, atol=1e-5)
    assert description == Description.from_json(package.description.to_json(), "here")
