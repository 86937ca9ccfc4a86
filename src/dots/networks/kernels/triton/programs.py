"""The programs: each takes a tile of positions of a map, or of several.

Maps lie channels-last, [slots, positions, C]. What is taken of them is in the type of the
parameters, float32 for maps in bfloat16. Of blocks that are taken together, each has a slot
for its output; `table` [slots, 5] says of each: kernel size, dilation, where its kernel begins
in `kernels`, the slot that it reads (-1: the source, which all share), and where the gradient of
its normalised map lies. Slots before `first` of the later programs are read by other blocks.
"""

from __future__ import annotations

import triton
import triton.language as tl

COLUMNS = tl.constexpr(5)
NUMBERS = [
    "first", "last", "each", "positions", "inputs", "origin", "numbers", "tiles", "size",
    "count", "edges", "dilation", "height", "width", "out_height", "out_width",
]  # fmt: skip
"""Whole numbers of which no value makes another program."""


@triton.jit
def _tile(tile, positions, CHANNELS: tl.constexpr, P: tl.constexpr, C: tl.constexpr):
    """Channels and which of them there are, [C]; places of a tile in its map, and those, [P, C]."""
    p, c = tile * P + tl.arange(0, P), tl.arange(0, C)
    some = c < CHANNELS
    mask = (p < positions)[:, None] & some[None, :]
    return c, some, p[:, None] * CHANNELS + c[None, :], mask


@triton.jit
def _rectified(v):
    return tl.maximum(v, 0.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _depthwise(
    x, mu, slope, shift, kernels, size, dilation, p, c, some, inside,
    height, width, out_height, out_width,
    STRIDE: tl.constexpr, NORMED: tl.constexpr, CHANNELS: tl.constexpr,
    P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """Depthwise convolution of ReLU(x), or of ReLU((x - mu) slope + shift), at positions p."""
    column = (p % out_width) * STRIDE
    row = (p // out_width % out_height) * STRIDE
    image = p // (out_width * out_height) * height
    here = ((image + row) * width + column)[:, None] * CHANNELS + c[None, :]
    z = tl.zeros([P, C], dtype=kernels.dtype.element_ty)
    for i in range(size):
        down = (i - size // 2) * dilation
        in_row = inside & (row + down >= 0) & (row + down < height)
        for j in range(size):
            right = (j - size // 2) * dilation
            seen = in_row & (column + right >= 0) & (column + right < width)
            mask = seen[:, None] & some[None, :]
            v = tl.load(x + here + (down * width + right) * CHANNELS, mask=mask, other=0.0)
            v = v.to(z.dtype)
            if NORMED:
                v = tl.where(mask, (v - mu[None, :]) * slope[None, :] + shift[None, :], 0.0)
            weight = tl.load(kernels + c * (size * size) + i * size + j, mask=some, other=0.0)
            z += _rectified(v) * weight[None, :]
    return z


@triton.jit
def _depthwise_gradient(
    gradients, rectified, kernels, by_kernels, size, dilation, q, c, some, inside,
    height, width, out_height, out_width,
    STRIDE: tl.constexpr, WEIGHTS: tl.constexpr, CHANNELS: tl.constexpr,
    P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """The gradient of ReLU(x) at positions q; that of the kernel goes to by_kernels."""
    column = q % width
    row = q // width % height
    image = q // (width * height) * out_height
    total = tl.zeros([P, C], dtype=kernels.dtype.element_ty)
    for i in range(size):
        y = row - (i - size // 2) * dilation
        for j in range(size):
            across = column - (j - size // 2) * dilation
            met = inside & (y >= 0) & (across >= 0)
            down, right = y, across
            if STRIDE > 1:
                met = met & (y % STRIDE == 0) & (across % STRIDE == 0)
                down, right = y // STRIDE, across // STRIDE
            met = met & (down < out_height) & (right < out_width)
            at = ((image + down) * out_width + right)[:, None] * CHANNELS + c[None, :]
            d = tl.load(gradients + at, mask=met[:, None] & some[None, :], other=0.0)
            d = d.to(total.dtype)
            spot = c * (size * size) + i * size + j
            total += d * tl.load(kernels + spot, mask=some, other=0.0)[None, :]
            if WEIGHTS:
                tl.store(by_kernels + spot, tl.sum(d * rectified, 0), mask=some)
    return total


@triton.jit
def _store_moments(
    y, mask, sums, squares, at, count, c,
    CHANNELS: tl.constexpr,
):  # fmt: skip
    """Of a tile's values, zero outside the mask: Σ y, and Σ (y - mean)²."""
    total = tl.sum(y, 0)
    away = tl.where(mask, y - (total / count)[None, :], 0.0)
    tl.store(sums + at, total, mask=c < CHANNELS)
    tl.store(squares + at, tl.sum(away * away, 0), mask=c < CHANNELS)


@triton.jit
def _store_sums(d, v, mu, mask, sums, products, at, some):
    """Of a tile's gradients, zero outside the mask: Σ d, and Σ d (v - mu)."""
    tl.store(sums + at, tl.sum(d, 0), mask=some)
    away = tl.where(mask, v - mu[None, :], 0.0)
    tl.store(products + at, tl.sum(d * away, 0), mask=some)


@triton.jit(do_not_specialize=NUMBERS)
def forward(
    x, mean, inverse_std, kernels, pointwise, table, out, sums, squares,
    first, positions, height, width, out_height, out_width,
    STRIDE: tl.constexpr, NORMED: tl.constexpr, CHANNELS: tl.constexpr,
    P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """Blocks of slots from `first` on: conv1x1(depthwise(ReLU(...))), and moments of each tile.

    sums, squares: [slots, tiles, C], of values, and of squares of their distances to their mean.
    """
    tile, slot = tl.program_id(0), first + tl.program_id(1)
    p, c = tile * P + tl.arange(0, P), tl.arange(0, C)
    inside, some = p < positions, c < CHANNELS
    z = _read(
        x, mean, inverse_std, kernels, table, slot, p, c, some, inside, positions,
        height, width, out_height, out_width, STRIDE, NORMED, CHANNELS, P, C,
    )  # fmt: skip
    square = some[:, None] & some[None, :]
    turned = c[None, :] * CHANNELS + c[:, None]
    matrix = tl.load(pointwise + slot * CHANNELS * CHANNELS + turned, mask=square, other=0.0)
    y = tl.dot(z, matrix, input_precision="tf32x3", out_dtype=z.dtype)
    mask = inside[:, None] & some[None, :]
    out += slot.to(tl.int64) * positions * CHANNELS
    tl.store(out + p[:, None] * CHANNELS + c[None, :], y, mask=mask)
    at = (slot * tl.num_programs(0) + tile) * CHANNELS + c
    _store_moments(y, mask, sums, squares, at, tl.minimum(positions - tile * P, P), c, CHANNELS)


@triton.jit
def _read(
    x, mean, inverse_std, kernels, table, slot, p, c, some, inside, positions,
    height, width, out_height, out_width,
    STRIDE: tl.constexpr, NORMED: tl.constexpr, CHANNELS: tl.constexpr,
    P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """`_depthwise` of a slot's block."""
    size = tl.load(table + slot * COLUMNS)
    dilation = tl.load(table + slot * COLUMNS + 1)
    kernels += tl.load(table + slot * COLUMNS + 2)
    before = tl.load(table + slot * COLUMNS + 3)
    mu = tl.zeros([C], dtype=kernels.dtype.element_ty)
    r = mu
    if NORMED:
        x += before.to(tl.int64) * positions * CHANNELS
        mu = tl.load(mean + before * CHANNELS + c, mask=some, other=0.0)
        r = tl.load(inverse_std + before * CHANNELS + c, mask=some, other=0.0)
    return _depthwise(
        x, mu, r, tl.zeros_like(mu), kernels, size, dilation, p, c, some, inside,
        height, width, out_height, out_width, STRIDE, NORMED, CHANNELS, P, C,
    )  # fmt: skip


@triton.jit(do_not_specialize=NUMBERS)
def finish_moments(
    sums, squares, mean, inverse_std, running_mean, running_var, momentum, eps,
    first, positions, tiles, size,
    RUNNING: tl.constexpr, CHANNELS: tl.constexpr, T: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """Mean and 1/std of the maps, [slots, C], from those of their tiles of `size` positions."""
    slot = first + tl.program_id(0)
    c = tl.program_id(1) * C + tl.arange(0, C)
    some = c < CHANNELS
    sums += slot * tiles * CHANNELS
    squares += slot * tiles * CHANNELS
    total = tl.zeros([T, C], dtype=sums.dtype.element_ty)
    for start in range(0, tiles, T):
        t = start + tl.arange(0, T)
        mask = (t < tiles)[:, None] & some[None, :]
        total += tl.load(sums + t[:, None] * CHANNELS + c[None, :], mask=mask, other=0.0)
    mu = tl.sum(total, 0) / positions
    spread = tl.zeros([T, C], dtype=sums.dtype.element_ty)
    for start in range(0, tiles, T):
        t = start + tl.arange(0, T)
        mask = (t < tiles)[:, None] & some[None, :]
        place = t[:, None] * CHANNELS + c[None, :]
        count = tl.maximum(tl.minimum(positions - t * size, size), 1)
        count = count.to(sums.dtype.element_ty)[:, None]
        away = tl.load(sums + place, mask=mask, other=0.0) / count - mu[None, :]
        within = tl.load(squares + place, mask=mask, other=0.0)
        spread += tl.where(mask, within + count * away * away, 0.0)
    squared = tl.sum(spread, 0)
    r = 1.0 / tl.sqrt(squared / positions + eps)
    tl.store(mean + slot * CHANNELS + c, mu, mask=some)
    tl.store(inverse_std + slot * CHANNELS + c, r, mask=some)
    if RUNNING:
        old = tl.load(running_mean + c, mask=some, other=0.0)
        tl.store(running_mean + c, old + momentum * (mu - old), mask=some)
        old = tl.load(running_var + c, mask=some, other=0.0)
        new = squared / (positions - 1)
        tl.store(running_var + c, old + momentum * (new - old), mask=some)


@triton.jit(do_not_specialize=NUMBERS)
def mix(
    maps, mean, inverse_std, scales, table, others, weights, out, first, last, count, positions,
    CHANNELS: tl.constexpr, P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """out [edges, positions, C]: of each edge the sum of its normalised maps, times scales.

    And of `count` others [count, positions, C], times weights [count, edges].
    """
    tile, edge = tl.program_id(0), tl.program_id(1)
    c, some, place, mask = _tile(tile, positions, CHANNELS, P, C)
    total = tl.zeros([P, C], dtype=out.dtype.element_ty)
    for slot in range(first, last):
        if tl.load(table + slot * COLUMNS + 4) == first + edge:
            own = maps + tl.cast(slot, tl.int64) * positions * CHANNELS
            v = tl.load(own + place, mask=mask, other=0.0)
            mu = tl.load(mean + slot * CHANNELS + c, mask=some, other=0.0)
            r = tl.load(inverse_std + slot * CHANNELS + c, mask=some, other=0.0)
            total += (v - mu[None, :]) * (r * tl.load(scales + slot - first))[None, :]
    for other in range(count):
        own = others + tl.cast(other, tl.int64) * positions * CHANNELS
        weight = tl.load(weights + other * tl.num_programs(1) + edge)
        total += tl.load(own + place, mask=mask, other=0.0) * weight
    out += edge.to(tl.int64) * positions * CHANNELS
    tl.store(out + place, total, mask=mask)


@triton.jit(do_not_specialize=NUMBERS)
def mix_backward(
    gradients, others, weights, by_others, by_weights, edges, positions,
    CHANNELS: tl.constexpr, P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """Of `others` and, for each tile, of their weights: [count, edges, tiles]."""
    tile, other = tl.program_id(0), tl.program_id(1)
    p, c = tile * P + tl.arange(0, P), tl.arange(0, C)
    mask = (p < positions)[:, None] & (c < CHANNELS)[None, :]
    place = p[:, None] * CHANNELS + c[None, :]
    start = other.to(tl.int64) * positions * CHANNELS
    x = tl.load(others + start + place, mask=mask, other=0.0)
    total = tl.zeros([P, C], dtype=others.dtype.element_ty)
    for edge in range(edges):
        own = gradients + tl.cast(edge, tl.int64) * positions * CHANNELS
        d = tl.load(own + place, mask=mask, other=0.0)
        total += d * tl.load(weights + other * edges + edge)
        at = (other * edges + edge) * tl.num_programs(0) + tile
        tl.store(by_weights + at, tl.sum(tl.sum(d * x, 1), 0))
    tl.store(by_others + start + place, total, mask=mask)


@triton.jit(do_not_specialize=NUMBERS)
def gradient_sums(
    gradients, maps, mean, table, sums, products, first, positions, each,
    TABLE: tl.constexpr, CHANNELS: tl.constexpr, P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """Σ D and Σ D (u - mean), D the gradient where `table` says: [slots, parts, C].

    A part is `each` tiles.
    """
    part, slot = tl.program_id(0), first + tl.program_id(1)
    c = tl.arange(0, C)
    some = c < CHANNELS
    if TABLE:
        gradients += tl.load(table + slot * COLUMNS + 4).to(tl.int64) * positions * CHANNELS
    mu = tl.load(mean + slot * CHANNELS + c, mask=some, other=0.0)
    maps += slot.to(tl.int64) * positions * CHANNELS
    total = tl.zeros([P, C], dtype=mean.dtype.element_ty)
    along = total
    for tile in range(part * each, part * each + each):
        p = tile * P + tl.arange(0, P)
        mask = (p < positions)[:, None] & some[None, :]
        place = p[:, None] * CHANNELS + c[None, :]
        d = tl.load(gradients + place, mask=mask, other=0.0).to(mu.dtype)
        u = tl.load(maps + place, mask=mask, other=0.0).to(mu.dtype)
        total += d
        along += d * (u - mu[None, :])
    at = (slot * tl.num_programs(0) + part) * CHANNELS + c
    tl.store(sums + at, tl.sum(total, 0), mask=some)
    tl.store(products + at, tl.sum(along, 0), mask=some)


@triton.jit(do_not_specialize=NUMBERS)
def finish_gradients(
    sums, products, mean, inverse_std, scales, factor, slope, offset, by_scales, by_shifts,
    first, positions, tiles,
    SCALED: tl.constexpr, CHANNELS: tl.constexpr, T: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """∂u = factor D + slope u + offset of each slot, [slots, C], and the gradients of scales.

    SCALED: "no", "maps" by a number each (all channels are in one program), or "channels", which
    also have shifts.
    """
    slot = first + tl.program_id(0)
    c = tl.program_id(1) * C + tl.arange(0, C)
    some = c < CHANNELS
    sums += slot * tiles * CHANNELS
    products += slot * tiles * CHANNELS
    b = tl.zeros([T, C], dtype=sums.dtype.element_ty)
    g = tl.zeros([T, C], dtype=sums.dtype.element_ty)
    for start in range(0, tiles, T):
        t = start + tl.arange(0, T)
        mask = (t < tiles)[:, None] & some[None, :]
        place = t[:, None] * CHANNELS + c[None, :]
        b += tl.load(sums + place, mask=mask, other=0.0)
        g += tl.load(products + place, mask=mask, other=0.0)
    at = slot * CHANNELS + c
    mu = tl.load(mean + at, mask=some, other=0.0)
    r = tl.load(inverse_std + at, mask=some, other=0.0)
    across, along = tl.sum(b, 0), tl.sum(g, 0)
    s = r
    if SCALED == "maps":
        s = r * tl.load(scales + slot - first)
        tl.store(by_scales + slot - first, tl.sum(r * along, 0))
    if SCALED == "channels":
        s = r * tl.load(scales + c, mask=some, other=0.0)
        tl.store(by_scales + c, r * along, mask=some)
        tl.store(by_shifts + c, across, mask=some)
    m = -s * r * r * along / positions
    tl.store(factor + at, s, mask=some)
    tl.store(slope + at, m, mask=some)
    tl.store(offset + at, -s * across / positions - m * mu, mask=some)


@triton.jit(do_not_specialize=NUMBERS)
def pointwise_backward(
    gradients, maps, factor, slope, offset, x, mean, inverse_std, kernels, pointwise, table,
    by_features, by_pointwise, first, positions, tiles,
    height, width, out_height, out_width,
    STRIDE: tl.constexpr, NORMED: tl.constexpr, WEIGHTS: tl.constexpr, CHANNELS: tl.constexpr,
    P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """Through norm and 1×1 convolution: gradients of the depthwise one's outputs, and of weights.

    by_features: [·, positions, C], of slots from `first` on; by_pointwise:
    [slots, programs, C, C], of the tiles that a program takes.
    """
    slot = first + tl.program_id(1)
    c = tl.arange(0, C)
    some = c < CHANNELS
    square = some[:, None] & some[None, :]
    matrix = c[:, None] * CHANNELS + c[None, :]
    weights = tl.load(pointwise + slot * CHANNELS * CHANNELS + matrix, mask=square, other=0.0)
    at = slot * CHANNELS + c
    s = tl.load(factor + at, mask=some, other=0.0)
    m = tl.load(slope + at, mask=some, other=0.0)
    shift = tl.load(offset + at, mask=some, other=0.0)
    gradients += tl.load(table + slot * COLUMNS + 4).to(tl.int64) * positions * CHANNELS
    maps += slot.to(tl.int64) * positions * CHANNELS
    by_features += (slot - first).to(tl.int64) * positions * CHANNELS
    total = tl.zeros([C, C], dtype=maps.dtype.element_ty)
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        p = tile * P + tl.arange(0, P)
        inside = p < positions
        mask = inside[:, None] & some[None, :]
        place = p[:, None] * CHANNELS + c[None, :]
        d = tl.load(gradients + place, mask=mask, other=0.0)
        u = tl.load(maps + place, mask=mask, other=0.0)
        by_y = tl.where(mask, s[None, :] * d + m[None, :] * u + shift[None, :], 0.0)
        by_z = tl.dot(by_y, weights, input_precision="tf32x3", out_dtype=by_y.dtype)
        tl.store(by_features + place, by_z, mask=mask)
        if WEIGHTS:
            z = _read(
                x, mean, inverse_std, kernels, table, slot, p, c, some, inside, positions,
                height, width, out_height, out_width, STRIDE, NORMED, CHANNELS, P, C,
            )  # fmt: skip
            total += tl.dot(tl.trans(by_y), z, input_precision="tf32x3", out_dtype=z.dtype)
    if WEIGHTS:
        part = (slot * tl.num_programs(0) + tl.program_id(0)) * CHANNELS * CHANNELS
        tl.store(by_pointwise + part + matrix, total, mask=square)


@triton.jit(do_not_specialize=NUMBERS)
def depthwise_backward(
    by_features, x, mean, inverse_std, kernels, table, by_input, by_kernels, sums, products,
    first, last, each, positions, inputs, origin, numbers,
    height, width, out_height, out_width,
    STRIDE: tl.constexpr, NORMED: tl.constexpr, WEIGHTS: tl.constexpr, CHANNELS: tl.constexpr,
    P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """Through depthwise convolution and ReLU, at `inputs` positions: of `each` slots, their sum.

    by_input: [parts, inputs, C]; by_kernels: [tiles, numbers], as `kernels` from `origin` on;
    with NORMED a part is a slot, and sums and products are as of `gradient_sums`.
    """
    tile, part = tl.program_id(0), tl.program_id(1)
    q, c = tile * P + tl.arange(0, P), tl.arange(0, C)
    some, inside = c < CHANNELS, q < inputs
    mask = inside[:, None] & some[None, :]
    place = q[:, None] * CHANNELS + c[None, :]
    slot = first + part * each
    before = slot
    if NORMED:
        before = tl.load(table + slot * COLUMNS + 3)
        x += before.to(tl.int64) * inputs * CHANNELS
    v = tl.load(x + place, mask=mask, other=0.0)
    read = v
    if NORMED:
        mu = tl.load(mean + before * CHANNELS + c, mask=some, other=0.0)
        r = tl.load(inverse_std + before * CHANNELS + c, mask=some, other=0.0)
        read = tl.where(mask, (v - mu[None, :]) * r[None, :], 0.0)
    rectified = _rectified(read)
    total = tl.zeros([P, C], dtype=x.dtype.element_ty)
    for one in range(slot, tl.minimum(slot + each, last)):
        start = tl.load(table + one * COLUMNS + 2)
        total += _depthwise_gradient(
            by_features + tl.cast(one - first, tl.int64) * positions * CHANNELS,
            rectified, kernels + start, by_kernels + tile * numbers + start - origin,
            tl.load(table + one * COLUMNS), tl.load(table + one * COLUMNS + 1),
            q, c, some, inside, height, width, out_height, out_width,
            STRIDE, WEIGHTS, CHANNELS, P, C,
        )  # fmt: skip
    total = tl.where(read <= 0.0, 0.0, total)
    tl.store(by_input + part.to(tl.int64) * inputs * CHANNELS + place, total, mask=mask)
    if NORMED:
        at = (before * tl.num_programs(0) + tile) * CHANNELS + c
        _store_sums(total, v, mu, mask, sums, products, at, some)


@triton.jit(do_not_specialize=NUMBERS)
def depthwise(
    x, mean, inverse_std, scales, shifts, kernels, out,
    size, dilation, positions, height, width, out_height, out_width,
    STRIDE: tl.constexpr, NORMED: tl.constexpr, CHANNELS: tl.constexpr,
    P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """Depthwise convolution of ReLU(x), or of ReLU(norm(x)), [positions, C]."""
    tile = tl.program_id(0)
    p, c = tile * P + tl.arange(0, P), tl.arange(0, C)
    inside, some = p < positions, c < CHANNELS
    mu = tl.zeros([C], dtype=kernels.dtype.element_ty)
    s, b = mu, mu
    if NORMED:
        mu, s, b = _affine(mean, inverse_std, scales, shifts, c, some)
    z = _depthwise(
        x, mu, s, b, kernels, size, dilation, p, c, some, inside,
        height, width, out_height, out_width, STRIDE, NORMED, CHANNELS, P, C,
    )  # fmt: skip
    tl.store(out + p[:, None] * CHANNELS + c[None, :], z, mask=inside[:, None] & some[None, :])


@triton.jit
def _affine(mean, inverse_std, scales, shifts, c, some):
    """A norm as (v - mean) slope + shift, [C] each."""
    mu = tl.load(mean + c, mask=some, other=0.0)
    s = tl.load(inverse_std + c, mask=some, other=0.0) * tl.load(scales + c, mask=some, other=0.0)
    return mu, s, tl.load(shifts + c, mask=some, other=0.0)


@triton.jit(do_not_specialize=NUMBERS)
def moments(
    maps, sums, squares, positions, each,
    CHANNELS: tl.constexpr, P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """Of a map, [parts, C], as of `forward`; a part is `each` tiles."""
    part = tl.program_id(0)
    start, c = part * each * P, tl.arange(0, C)
    some = c < CHANNELS
    # Distances to a value of the part: squares of those to zero would be larger than their sum.
    pivot = tl.load(maps + start * CHANNELS + c, mask=some, other=0.0).to(sums.dtype.element_ty)
    total = tl.zeros([P, C], dtype=sums.dtype.element_ty)
    square = total
    for i in range(each):
        p = start + i * P + tl.arange(0, P)
        mask = (p < positions)[:, None] & some[None, :]
        y = tl.load(maps + p[:, None] * CHANNELS + c[None, :], mask=mask, other=0.0)
        away = tl.where(mask, y.to(total.dtype) - pivot[None, :], 0.0)
        total += away
        square += away * away
    count = tl.minimum(positions - start, each * P)
    away = tl.sum(total, 0)
    at = part * CHANNELS + c
    tl.store(sums + at, away + count * pivot, mask=some)
    tl.store(squares + at, tl.sum(square, 0) - away * away / count, mask=some)


@triton.jit(do_not_specialize=NUMBERS)
def normalise(
    maps, mean, inverse_std, scales, shifts, out, positions,
    CHANNELS: tl.constexpr, P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """norm(u) of a map."""
    c, some, place, mask = _tile(tl.program_id(0), positions, CHANNELS, P, C)
    mu, s, b = _affine(mean, inverse_std, scales, shifts, c, some)
    u = tl.load(maps + place, mask=mask, other=0.0).to(mu.dtype)
    tl.store(out + place, (u - mu[None, :]) * s[None, :] + b[None, :], mask=mask)


@triton.jit(do_not_specialize=NUMBERS)
def norm_backward(
    gradients, maps, factor, slope, offset, out, positions,
    CHANNELS: tl.constexpr, P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """factor D + slope u + offset."""
    c, some, place, mask = _tile(tl.program_id(0), positions, CHANNELS, P, C)
    s = tl.load(factor + c, mask=some, other=0.0)
    m = tl.load(slope + c, mask=some, other=0.0)
    shift = tl.load(offset + c, mask=some, other=0.0)
    d = tl.load(gradients + place, mask=mask, other=0.0).to(s.dtype)
    u = tl.load(maps + place, mask=mask, other=0.0).to(s.dtype)
    tl.store(out + place, s[None, :] * d + m[None, :] * u + shift[None, :], mask=mask)


@triton.jit(do_not_specialize=NUMBERS)
def one_depthwise_backward(
    by_features, x, mean, inverse_std, scales, shifts, kernels, by_input, by_kernels,
    sums, products, size, dilation, inputs, numbers, height, width, out_height, out_width,
    STRIDE: tl.constexpr, NORMED: tl.constexpr, WEIGHTS: tl.constexpr, CHANNELS: tl.constexpr,
    P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """As `depthwise_backward`, of what `depthwise` does."""
    tile = tl.program_id(0)
    q, c = tile * P + tl.arange(0, P), tl.arange(0, C)
    some, inside = c < CHANNELS, q < inputs
    mask = inside[:, None] & some[None, :]
    place = q[:, None] * CHANNELS + c[None, :]
    v = tl.load(x + place, mask=mask, other=0.0).to(kernels.dtype.element_ty)
    read = v
    if NORMED:
        mu, s, b = _affine(mean, inverse_std, scales, shifts, c, some)
        read = tl.where(mask, (v - mu[None, :]) * s[None, :] + b[None, :], 0.0)
    total = _depthwise_gradient(
        by_features, _rectified(read), kernels, by_kernels + tile * numbers, size, dilation,
        q, c, some, inside, height, width, out_height, out_width,
        STRIDE, WEIGHTS, CHANNELS, P, C,
    )  # fmt: skip
    total = tl.where(read <= 0.0, 0.0, total)
    tl.store(by_input + place, total, mask=mask)
    if NORMED:
        _store_sums(total, v, mu, mask, sums, products, tile * CHANNELS + c, some)
