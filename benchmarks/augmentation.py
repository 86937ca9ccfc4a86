"""Time of one batch of augmented images: ours, and the usual one image at a time.

    python benchmarks/augmentation.py [--threads 1] [--repeats 200] [--batch 64]

Both give crop (padding 4), flip, normalisation and cutout 16 of 32×32 images. The usual way is
torchvision's transforms on PIL images with DARTS' cutout, as a data loader's worker runs them.
Ours is a whole `Batches.batch`: order, random numbers and labels included. The two take turns
in one process. Target: at most 1 ms a batch of 64 on one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from comparing import alternate, each_thread_count, parser, spread, verdict
from dots.data import Augmentation, Batches, DataInfo, ResidentImages

TARGET = 1.0  # milliseconds
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


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    wanted = parser(__doc__, repeats=200)
    wanted.set_defaults(threads=[1])
    wanted.add_argument("--batch", type=int, default=64, help="(%(default)s)")
    options = wanted.parse_args(words)
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (20_000, SIZE, SIZE, 3), dtype=np.uint8)
    runs = {"ours": ours(pixels, options.batch), "usual": usual(pixels, options.batch)}
    print(f"a batch of {options.batch} augmented images")
    for _ in each_thread_count(options):
        times = alternate(runs, options, warmup=10)
        for name, seconds in times.items():
            milliseconds = [1000 * value for value in seconds]
            end = f"; {verdict(median(milliseconds), TARGET, ' ms')}" if name == "ours" else ""
            print(f"  {name:>5}: {spread(milliseconds)} ms (minimum / median / maximum){end}")
        ratios = [a / b for a, b in zip(times["ours"], times["usual"], strict=True)]
        print(f"  ours / usual: {spread(ratios, 4)}")


if __name__ == "__main__":
    main()
