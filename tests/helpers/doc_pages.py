"""The pages of the documentation, the blocks in them, and a place where their commands work."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = ("README.md", *sorted(f"docs/{p.relative_to(DOCS)}" for p in DOCS.rglob("*.md")))
PLACEHOLDERS = {"DATA": "my-images", "RUN": "runs/my-images-1"}
NOT_OURS = ("pip", "python", "python3", "tensorboard", "mkdocs", "git", "scripts/", "hf", "cd")
"""What the first word of a command may be beside `dots`; such commands are not run."""


NOT_HERE = ("mindspore", "jittor", "jax")
"""Commands with these words need another environment."""


class Block(NamedTuple):
    """A fenced block: its language ("" for none), its title if it has one, its text, and whether
    it is meant to run: what is marked `no-run` needs what is not here."""

    language: str
    title: str
    text: str
    runs: bool


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(r"^```([a-z]*)([^\n]*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    return [
        Block(language, "".join(re.findall(r'title="([^"]*)"', rest)), body, "no-run" not in rest)
        for language, rest, body in found
    ]


def commands(block: Block) -> Iterator[list[str]]:
    """The commands of a block, as lists of words; none where it is something else."""
    if block.language not in ("console", "bash", "sh", ""):
        return
    prompted = any(line.startswith("$ ") for line in block.text.splitlines())
    joined = block.text.replace("\\\n", " ")
    for line in joined.splitlines():
        if prompted and not line.startswith("$ "):
            continue  # what a command prints
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if not words or {"&&", "|", *NOT_HERE} & set(words):
            continue
        if words[0] != "dots":
            known = words[0].startswith(NOT_OURS) or "=" in words[0]
            assert known or block.language == "", f"no command that is known: {line}"
            continue
        yield [PLACEHOLDERS.get(word, word) for word in words[1:]]


def small_images(folder: Path, count: int = 24) -> None:
    """A folder of two classes of small colour images, one more red, one more blue."""
    random = np.random.default_rng(0)
    for label, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = random.integers(0, 180, (32, 32, 3))
            pixels[..., 2 * label] += 70
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{index}.png")


def prepare(place: Path, run: Path) -> None:
    """What the pages speak of: images, photos, and a finished run on the images."""
    small_images(place / "my-images")
    small_images(place / "other-images", 8)
    photo = place / "my-images/cat/0.png"
    for name in ("photo.jpg", "photos/one.png", "more/one.jpg"):
        (place / name).parent.mkdir(exist_ok=True)
        shutil.copy(photo, place / name)
    (place / "runs").mkdir()
    shutil.copytree(run, place / "runs/my-images-1")
