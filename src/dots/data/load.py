"""Decode a whole part into one tensor, in threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from dots.data.decode import Box, Geometry, ImageError, no_warnings, pixels
from dots.data.sources.records import Raw, Record, Records, as_tensor

Progress = Callable[[int, int], None]
"""Called with the number of images decoded so far and the number in all."""

_CHUNK = 32  # so many files are open at once for each thread
_AHEAD = 2

Decoded = tuple[int, Tensor | ImageError]


def decode(
    raw: Raw,
    geometry: Geometry,
    where: str,
    choose: Callable[[int, int], Box] | None = None,
) -> Tensor:
    """One opened image as [size, size, C]; `choose` as in dots.data.decode.pixels."""
    if isinstance(raw, Image.Image):
        return torch.from_numpy(pixels(raw, geometry, where, choose).copy())
    if raw.shape[2] != geometry.channels:
        raise ImageError(where, f"it has {raw.shape[2]} channels, not {geometry.channels}")
    if choose is None:
        return squares(raw[None], geometry)[0]
    left, top, right, bottom = map(int, choose(raw.shape[1], raw.shape[0]))
    return _resized(raw[None, top:bottom, left:right], geometry.size)[0]


def squares(images: Tensor, geometry: Geometry) -> Tensor:
    """The middle squares of images [N, H, W, C], resized, as `decode` does it for pictures."""
    height, width = images.shape[1:3]
    side = max(1, int(min(height, width) * geometry.centre))
    top, left = (height - side) // 2, (width - side) // 2
    return _resized(images[:, top : top + side, left : left + side], geometry.size)


def _resized(images: Tensor, size: int) -> Tensor:
    if images.shape[1:3] == (size, size):
        return images
    pieces = [
        interpolate(
            images[start : start + 1024].permute(0, 3, 1, 2).float(),
            (size, size),
            mode="bilinear",
            antialias=True,
        )
        for start in range(0, len(images), 1024)
    ]
    resized = torch.cat(pieces).permute(0, 2, 3, 1)
    if images.dtype == torch.uint8:
        resized = resized.round_().clamp_(0, 255).to(torch.uint8)
    return resized.contiguous()


def load_all(
    records: Records,
    geometry: Geometry,
    *,
    skip_corrupt: bool = False,
    progress: Progress | None = None,
) -> tuple[Tensor, Tensor, list[ImageError]]:
    """Decode every image: (pixels [M, size, size, C], the rows [M] they come from, problems).

    Raises the first ImageError in order of rows, unless `skip_corrupt`: then M is less than
    the number of records, and the problems are returned.
    """
    ready = as_tensor(records)
    if ready is not None and ready.shape[3] == geometry.channels:
        return squares(ready, geometry).contiguous(), torch.arange(len(records)), []
    result = torch.empty(0)
    rows: list[int] = []

    def keep(row: int, image: Tensor) -> None:
        nonlocal result
        if not rows:
            result = torch.empty((len(records), *image.shape), dtype=image.dtype)
        if image.dtype != result.dtype:
            raise ImageError(records[row].where, f"its pixels are {image.dtype}, not as others'")
        result[len(rows)] = image
        rows.append(row)

    problems = visit(records, geometry, keep, skip_corrupt=skip_corrupt, progress=progress)
    return result[: len(rows)], torch.tensor(rows, dtype=torch.int64), problems


def visit(
    records: Records,
    geometry: Geometry,
    use: Callable[[int, Tensor], None],
    *,
    skip_corrupt: bool = False,
    progress: Progress | None = None,
) -> list[ImageError]:
    """Decode every image and call `use(row, image [size, size, C])`, in order of rows.

    Raises the first ImageError, also one from `use`, unless `skip_corrupt`: then all of them
    are returned.
    """
    problems: list[ImageError] = []
    with no_warnings():
        for done, (row, image) in enumerate(decode_all(records, geometry), start=1):
            try:
                if isinstance(image, ImageError):
                    raise image
                use(row, image)
            except ImageError as problem:
                if not skip_corrupt:
                    raise
                problems.append(problem)
            if progress is not None:
                progress(done, len(records))
    return problems


def decode_all(records: Records, geometry: Geometry) -> Iterator[Decoded]:
    """Every row in order with its image [size, size, C], or with its problem.

    Images are opened here, one after the other, and decoded in threads, a few chunks ahead.
    """
    threads = min(8, os.cpu_count() or 1)
    pending: deque[tuple[Future[list[Decoded]], list[Raw | ImageError]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for start in range(0, len(records), _CHUNK):
                if len(pending) >= threads + _AHEAD:
                    yield from pending.popleft()[0].result()
                rows = range(start, min(start + _CHUNK, len(records)))
                batch = [records[row] for row in rows]
                opened = [opened_or_problem(record) for record in batch]
                future = pool.submit(_decode_chunk, rows, opened, batch, geometry)
                pending.append((future, opened))
            while pending:
                yield from pending.popleft()[0].result()
        finally:  # nothing is left here unless the caller stops early
            for future, opened in pending:
                if future.cancel():
                    _close(opened)


def _close(opened: Sequence[Raw | ImageError]) -> None:
    for raw in opened:
        if isinstance(raw, Image.Image):
            raw.close()


def opened_or_problem(record: Record) -> Raw | ImageError:
    """The image, not yet decoded, or why it cannot be opened."""
    try:
        return record.open()
    except ImageError as problem:
        return problem


def _decode_chunk(
    rows: range, opened: Sequence[Raw | ImageError], batch: Sequence[Record], geometry: Geometry
) -> list[Decoded]:
    return [
        (row, _decode_one(raw, geometry, record.where))
        for row, raw, record in zip(rows, opened, batch, strict=True)
    ]


def _decode_one(raw: Raw | ImageError, geometry: Geometry, where: str) -> Tensor | ImageError:
    if isinstance(raw, ImageError):
        return raw
    try:
        return decode(raw, geometry, where)
    except ImageError as problem:
        return problem
