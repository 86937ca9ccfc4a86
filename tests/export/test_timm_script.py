"""timm's training script takes found cells by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import exported_run

STAND_IN = '''
"""What timm's train.py does with a model; the package of timm lacks that file."""
import argparse
from timm import utils
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.loss import LabelSmoothingCrossEntropy
from timm.models import create_model
from timm.optim import create_optimizer_v2

parser = argparse.ArgumentParser()
parser.add_argument("--data-dir")
parser.add_argument("--model")
parser.add_argument("--num-classes", type=int)
parser.add_argument("--input-size", type=int, nargs=3)
parser.add_argument("--model-kwargs", nargs="*", default={}, action=utils.ParseKwargs)
args = parser.parse_args()
model = create_model(
    args.model, pretrained=False, in_chans=3, num_classes=args.num_classes, drop_rate=0.0,
    drop_path_rate=None, drop_block_rate=None, global_pool=None, bn_momentum=None, bn_eps=None,
    scriptable=False, checkpoint_path="", **args.model_kwargs,
)
config = resolve_data_config(vars(args), model=model)
loader = create_loader(
    create_dataset("", root=args.data_dir, split="train"), input_size=config["input_size"],
    batch_size=4, is_training=True, num_workers=0, use_prefetcher=False,
    interpolation="bilinear", mean=config["mean"], std=config["std"],
)
optimizer = create_optimizer_v2(model, opt="sgd", lr=0.01)
for images, labels in loader:
    loss = LabelSmoothingCrossEntropy()(model(images), labels)
    loss.backward()
    optimizer.step()
print(type(model).__name__, tuple(images.shape), loss.item() > 0)
'''


def images(folder: Path) -> Path:
    """Two classes of four pictures, as an ImageFolder with training and validation parts."""
    draw = np.random.default_rng(0)
    for part in ("train", "validation"):
        for name in ("cat", "dog"):
            (folder / part / name).mkdir(parents=True)
            for index in range(4):
                pixels = draw.integers(0, 255, (32, 32, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{index}.png")
    return folder


def script(place: Path, path: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dots.export.timm_script", str(path), *words],
        cwd=place, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


CELL = ["--model", "dots_network", "--num-classes", "2", "--input-size", "3", "32", "32",
        "--model-kwargs", "cells=3", "channels=4"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("source", ["zoo", "file"])
def test_a_training_as_timm_does_it(tmp_path: Path, source: str) -> None:
    pytest.importorskip("timm", reason="needs timm (the test extra)")
    path = tmp_path / "train.py"
    path.write_text(STAND_IN)
    found = tmp_path / "genotype.json"
    exported_run.EVERYTHING.save(found)
    genotype = "DARTS_V2" if source == "zoo" else str(found)
    folder = str(images(tmp_path / "images"))
    said = script(tmp_path, path, "--data-dir", folder, *CELL, f"genotype={genotype}")
    assert said.splitlines()[-1].endswith("(4, 3, 32, 32) True")


@pytest.mark.slow
def test_timms_own_script(tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="needs timm (the test extra)")
    own = os.environ.get("TIMM_TRAIN")
    if own is None:
        pytest.skip("TIMM_TRAIN does not name timm's train.py, which its package lacks")
    folder = str(images(tmp_path / "images"))
    script(
        tmp_path, Path(own), "--data-dir", folder, "--epochs", "1", "-b", "4", "-j", "0",
        "--device", "cpu", "--output", str(tmp_path / "out"), *CELL, "genotype=DARTS_V2",
    )  # fmt: skip
    assert list((tmp_path / "out").glob("*/summary.csv"))


def test_no_script_is_a_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dots.export.timm_script"], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("dots: name a script")
