from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dots.common.errors import UserError
from dots.data.augment.augment import Augmentation
from dots.data.augment.colour import ColourJitter
from dots.data.batches import Batches
from dots.data.decode import Geometry, ImageError
from dots.data.images import ImageSet, ResidentImages, StreamedImages
from dots.data.info import DataInfo
from dots.data.sources.records import FileRecords

INFO = DataInfo("x", ("a", "b"), 3, 8, (0.5,) * 3, (0.25,) * 3, True)
ALL = Augmentation(crop_padding=2, flip=True, colour=ColourJitter(), cutout=4)


def resident(count: int) -> ResidentImages:
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 8, 8, 3), dtype=torch.uint8, generator=draw)
    return ResidentImages(pixels, torch.arange(count))  # each image is its own class


def batches(images: ImageSet, size: int = 7, **changes: Any) -> Batches:
    arguments: dict[str, Any] = {
        "info": INFO,
        "augment": ALL,
        "shuffle": True,
        "seed": 3,
        "stream": "weights",
        "device": torch.device("cpu"),
    } | changes
    indices = arguments.pop("indices", torch.arange(len(images)))
    return Batches(images, indices, size, **arguments)


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 70), st.sampled_from((1, 2, 4)), st.booleans())
def test_every_image_once_in_nearly_equal_batches(
    count: int, size: int, world: int, shuffle: bool
) -> None:
    images = resident(count)
    try:
        ranks = [
            batches(images, size, shuffle=shuffle, rank=rank, world=world) for rank in range(world)
        ]
    except UserError:
        assert count // -(-count // size) < world
        return
    steps = -(-count // size)
    seen = []
    sizes = []
    for step in range(steps):
        pieces = [found.rows(0, step).tolist() for found in ranks]
        assert max(map(len, pieces)) - min(map(len, pieces)) <= 1
        sizes.append(sum(map(len, pieces)))
        seen += [row for piece in pieces for row in piece]
        assert [found.sizes(step) for found in ranks] == [(len(p), sizes[-1]) for p in pieces]
    assert ranks[0].steps == steps
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= size
    assert sorted(seen) == list(range(count))
    assert shuffle or seen == list(range(count))


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("resized", [False, True])
def test_processes_together_see_what_one_sees(world: int, resized: bool) -> None:
    images = resident(50)
    augment = Augmentation(resized_crop=True, flip=True) if resized else ALL
    alone = batches(images, 16, augment=augment)
    ranks = [batches(images, 16, augment=augment, rank=rank, world=world) for rank in range(world)]
    for step in range(alone.steps):
        whole = alone.batch(2, step)
        pieces = [found.batch(2, step) for found in ranks]
        assert torch.equal(torch.cat([piece.images for piece in pieces]), whole.images)
        assert torch.equal(torch.cat([piece.labels for piece in pieces]), whole.labels)
        assert {piece.total for piece in pieces} == {whole.total} == {len(whole.labels)}


def test_a_batch_is_a_function_of_its_arguments() -> None:
    images = resident(30)
    first = [b.images for b in batches(images).epoch(1)]
    torch.manual_seed(99)
    other = batches(images)
    for step in (4, 0, 2):  # in any order, after anything
        other.batch(7, step)
        assert torch.equal(other.batch(1, step).images, first[step])
    assert [torch.equal(a.images, b) for a, b in zip(other.epoch(1, 2), first[2:], strict=True)]
    assert len(list(other.epoch(1, 2))) == 3


@pytest.mark.parametrize("change", [{"seed": 4}, {"stream": "architecture"}])
def test_other_seeds_and_streams_differ(change: dict[str, Any]) -> None:
    images = resident(30)
    same, other = batches(images), batches(images, **change)
    assert not torch.equal(same.rows(0, 0), other.rows(0, 0))
    assert not torch.equal(same.rows(0, 0), same.rows(1, 0))
    unshuffled = [batches(images, shuffle=False, **c).batch(0, 0).images for c in ({}, change)]
    assert not torch.equal(*unshuffled)


def test_the_global_random_state_is_neither_used_nor_changed() -> None:
    found = batches(resident(30))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    list(found.epoch(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_subset_and_its_labels() -> None:
    images = resident(30)
    indices = torch.tensor([3, 8, 21, 22, 29])
    found = batches(images, 2, indices=indices, augment=None)
    labels = torch.cat([batch.labels for batch in found.epoch(0)])
    assert sorted(labels.tolist()) == indices.tolist()
    for batch in found.epoch(0):
        expected = (images.read(batch.labels).float() / 255 - 0.5) / 0.25
        torch.testing.assert_close(batch.images, expected)
        assert batch.images.is_contiguous(memory_format=torch.channels_last)


def test_wrong_arguments() -> None:
    with pytest.raises(UserError, match="no images for 'weights'"):
        batches(resident(3), indices=torch.tensor([], dtype=torch.int64))
    with pytest.raises(UserError, match="a batch of 1 images cannot be shared by 2 processes"):
        batches(resident(3), 2, world=2)
    with pytest.raises(IndexError):
        batches(resident(3)).batch(0, 1)


def streamed(folder: Path, count: int = 13) -> StreamedImages:
    draw = np.random.default_rng(0)
    files = tuple(f"{number}.png" for number in range(count))
    for number, file in enumerate(files):
        pixels = draw.integers(0, 256, (20 + number, 30 - number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / file)
    return StreamedImages(FileRecords(folder, files), torch.arange(count), Geometry(8, 3))


@pytest.mark.parametrize("augment", [None, Augmentation(resized_crop=True, flip=True, cutout=4)])
def test_workers_change_nothing(tmp_path: Path, augment: Augmentation | None) -> None:
    images = streamed(tmp_path)
    alone = list(batches(images, 4, augment=augment).epoch(1))
    state = torch.get_rng_state()
    ahead = list(batches(images, 4, augment=augment, workers=2).epoch(1))
    assert torch.equal(torch.get_rng_state(), state)
    for one, other in zip(alone, ahead, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
    rest = list(batches(images, 4, augment=augment, workers=2).epoch(1, 2))
    assert torch.equal(rest[0].images, alone[2].images)
    assert len(rest) == len(alone) - 2


def test_a_corrupt_image_is_named_through_a_worker(tmp_path: Path) -> None:
    images = streamed(tmp_path)
    (tmp_path / "7.png").write_bytes(b"nothing")
    with pytest.raises(ImageError, match=r"cannot read the image '.*7\.png': it is no image"):
        list(batches(images, 4, workers=1).epoch(0))


def test_a_worker_can_be_left_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    epoch = batches(streamed(tmp_path), 4, workers=1).epoch(0)
    next(epoch)
    del epoch
