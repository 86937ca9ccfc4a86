"""Time of one batch of augmented images: ours, and the usual one image at a time.

    python benchmarks/augmentation.py [--batch 64] [--rounds 200] [--threads 1]

Both give crop (padding 4), flip, normalisation and cutout 16 of 32×32 images. The usual way is
torchvision's transforms on PIL images with DARTS' cutout, as a data loader's worker runs them.
Ours is a whole `Batches.batch`: order, random numbers and labels included. The two take turns
in one process. Target: at most 1 ms a batch of 64 on one thread.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from statistics import median
from time import perf_counter

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from dots.data import Augmentation, Batches, DataInfo, ResidentImages

SIZE, PADDING, CUTOUT = 32, 4, 16
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def usual(pixels: np.ndarray, batch: int) -> Callable[[], Tensor]:
    """A function that augments `batch` images one after the other."""
    change = transforms.Compose(
        [
            transforms.RandomCrop(SIZE, padding=PADDING),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
            _cutout,
        ]
    )

    def run() -> Tensor:
        rows = np.random.randint(len(pixels), size=batch)
        return torch.stack([change(Image.fromarray(pixels[row])) for row in rows])

    return run


def _cutout(image: Tensor) -> Tensor:
    height, width = image.shape[1:]
    row, column = np.random.randint(height), np.random.randint(width)
    mask = np.ones((height, width), np.float32)
    half = CUTOUT // 2
    mask[max(row - half, 0) : row + half, max(column - half, 0) : column + half] = 0
    return image * torch.from_numpy(mask)


def ours(pixels: np.ndarray, batch: int) -> Callable[[], Tensor]:
    """A function that returns the next of our batches."""
    images = ResidentImages(torch.from_numpy(pixels), torch.zeros(len(pixels), dtype=torch.int64))
    batches = Batches(
        images,
        torch.arange(len(pixels)),
        batch,
        info=DataInfo("noise", ("a", "b"), 3, SIZE, MEAN, STD, True),
        augment=Augmentation(PADDING, flip=True, cutout=CUTOUT),
        shuffle=True,
        seed=0,
        stream="benchmark",
        device=torch.device("cpu"),
    )
    step = 0

    def run() -> Tensor:
        nonlocal step
        step = (step + 1) % batches.steps
        return batches.batch(0, step).images

    return run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Plain)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (20_000, SIZE, SIZE, 3), dtype=np.uint8)
    runs = {"usual": usual(pixels, options.batch), "ours": ours(pixels, options.batch)}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(options.rounds + 10):
        for name, run in runs.items():
            start = perf_counter()
            run()
            if turn >= 10:
                times[name].append(1000 * (perf_counter() - start))
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, ", end="")
    print(f"{options.threads} thread(s), batch {options.batch}, {options.rounds} rounds")
    for name, found in times.items():
        print(f"{name:>6}: {min(found):.3f} / {median(found):.3f} / {max(found):.3f} ms", end="")
        print(" (minimum / median / maximum)")
    ratios = [one / other for one, other in zip(times["ours"], times["usual"], strict=True)]
    print(f" ratio: {min(ratios):.4f} / {median(ratios):.4f} / {max(ratios):.4f} (ours / usual)")


_Plain = argparse.RawDescriptionHelpFormatter

if __name__ == "__main__":
    main()
