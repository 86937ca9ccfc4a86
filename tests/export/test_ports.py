"""The ports in their own environments; `scripts/test_ports.sh` makes these and runs this.

DOTS_PORT_JAX, DOTS_PORT_MINDSPORE and DOTS_PORT_JITTOR name interpreters. The texts of the
programs are checked without.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from dots import zoo
from dots.export import export_run
from dots.export.package import read_package
from dots.export.programs import program
from dots.nas.random_cell import random_genotype
from dots.networks.body import Shape
from dots.networks.derived import DerivedNetwork
from dots.networks.skeletons import RULES, OwnNetwork
from dots.space.search_space import named_space
from helpers import exported_run

PORTS = ("jax", "mindspore", "jittor")
FRAMEWORKS = {"jax": {"jax", "flax", "optax"}, "mindspore": {"mindspore"}, "jittor": {"jittor"}}
"""The packages that a port may import; Flax brings optax."""
RATE = 0.05
IMAGES = 6
"""Few: where an activation is within rounding of zero, frameworks may cut it differently, and
that changes a gradient by far more than rounding. Among few values there is none."""


@pytest.mark.parametrize("port", PORTS)
def test_a_program_defines_what_it_uses_and_needs_no_dots(port: str) -> None:
    tree = ast.parse(program(f"ports/{port}_network.py"))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])
    others = imported - set(sys.stdlib_module_names)
    assert others == {*FRAMEWORKS[port], "numpy", "PIL", "safetensors"}
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert {"picture", "flattened", "main", "prepared", "Network"} <= defined


def interpreter(port: str) -> str:
    """The Python that has the port's framework, or a skip."""
    name = f"DOTS_PORT_{port.upper()}"
    if name not in os.environ:
        pytest.skip(f"{name} names no interpreter: run scripts/test_ports.sh {port}")
    return os.environ[name]


def networks() -> dict[str, tuple[DerivedNetwork | OwnNetwork, int]]:
    """Small networks that hold every kind of layer, and a side of images for each."""
    benchmark = random_genotype(named_space("nasbench201", None), "any", 1)
    staged = DerivedNetwork(benchmark, Shape(3, 4, 3, 10))
    exported_run.shaken(staged)
    pnas = OwnNetwork(zoo.load("PNASNet5_tf").genotype, RULES["nasnet"], Shape(2, 4, 3, 10))
    exported_run.shaken(pnas)
    head = DerivedNetwork(zoo.load("DARTS_V2").genotype, Shape(3, 4, 3, 10, head_norm=True))
    exported_run.shaken(head)
    return {
        "every operation, even": (exported_run.network(), 12),
        "every operation, odd": (exported_run.network(), 11),
        "a norm in the head": (head, 8),
        "PNASNet's skeleton": (pnas, 15),
        "NAS-Bench-201's skeleton": (staged, 11),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", list(networks()))
@pytest.mark.parametrize("port", PORTS)
def test_a_port_is_the_network(tmp_path: Path, port: str, name: str) -> None:
    """The same probabilities on real images; after one training step the same tensors."""
    python = interpreter(port)
    network, size = networks()[name]
    run = exported_run.make_run(tmp_path / "run", network, exported_run.info(size=size))
    done = export_run(run, port, python=python)
    print(f"\n{port}, {name}: {done.comparison}")
    expected = _torch_step(run, size, tmp_path / "batch.npz")
    result = tmp_path / "result.npz"
    script = Path(__file__).with_name("port_step.py")
    words = [python, str(script), str(done.path), str(tmp_path / "batch.npz"), str(result)]
    step = subprocess.run(words, capture_output=True, text=True, check=False)
    assert step.returncode == 0, step.stderr[-2000:]
    found = np.load(result)
    assert set(found.files) == set(expected)
    largest = 0.0
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-3, atol=1e-4, err_msg=key)
        largest = max(largest, float(np.abs(found[key] - value).max()))
    print(f"{port}, {name}: one training step, largest difference {largest:.1e}")


@pytest.mark.slow
def test_the_jax_port_is_a_module_of_flax(tmp_path: Path) -> None:
    """Parameters and statistics under Flax's types; `train` and `eval`; `apply` by itself."""
    python = interpreter("jax")
    run = exported_run.make_run(tmp_path / "run", exported_run.network(), exported_run.info())
    package = read_package(run)
    done = export_run(run, "jax", python=python)
    pictures = [str(tmp_path / f"{number}.npy") for number in range(4)]
    for picture, values in zip(pictures, load_digits().images, strict=False):
        np.save(picture, np.tile(np.kron(values / 8 - 1, np.ones((2, 2))), (3, 1, 1)))
    script = Path(__file__).with_name("flax_use.py")
    words = [python, str(script), str(done.path), *pictures]
    use = subprocess.run(words, capture_output=True, text=True, check=False)
    assert use.returncode == 0, use.stderr[-2000:]
    found = json.loads(use.stdout.splitlines()[-1])
    network = package.trained.network
    tensors = set(package.layers.tensors)
    assert found["parameters"] == sorted(tensors & set(dict(network.named_parameters())))
    assert found["statistics"] == sorted(tensors & set(dict(network.named_buffers())))
    assert found["moved"] == found["statistics"]
    assert found["unchanged"]
    assert found["merged"] < 1e-5
    assert found["pure"] < 1e-5


def _torch_step(run: Path, size: int, batch: Path) -> dict[str, np.ndarray]:
    """The step in PyTorch, by the network itself; the batch goes into a file."""
    images = torch.tensor(load_digits().images[:IMAGES], dtype=torch.float32)[:, None] / 8 - 1
    images = torch.nn.functional.interpolate(images, (size, size)).repeat(1, 3, 1, 1)
    labels = torch.tensor(load_digits().target[:IMAGES])
    np.savez(batch, images=images.numpy(), labels=labels.numpy(), learning_rate=RATE)
    package = read_package(run)
    network = package.trained.network.train()
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter -= RATE * parameter.grad
    tensors = network.state_dict()
    values = {name: tensors[name].numpy() for name in package.layers.tensors}
    return values | {"the loss": np.float64(loss.item())}
