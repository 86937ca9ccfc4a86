"""Checkpoint files: what goes in comes out, and whatever is altered is noticed."""

from __future__ import annotations

import hashlib
import json
import math
import struct
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dots.common.errors import UserError
from dots.runs.state_file import DamagedFileError, decode, encode, load, save

DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.bool, torch.uint8,
    torch.int8, torch.int16, torch.int32, torch.int64, torch.complex64,
]  # fmt: skip


def same(a: Any, b: Any) -> bool:
    """Equal in value, type and order, bit for bit."""
    if isinstance(a, Tensor):
        return (
            isinstance(b, Tensor)
            and (a.dtype, a.shape) == (b.dtype, b.shape)
            and bytes_of(a) == bytes_of(b)
        )
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or struct.pack("d", a) == struct.pack("d", b)
    return bool(a == b)


def bytes_of(tensor: Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(0, 3), max_size=4))
    dtype = draw(st.sampled_from(DTYPES))
    seed = draw(st.integers(0, 1000))
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3
    tensor = values.to(dtype)
    return tensor.permute(draw(st.permutations(range(tensor.ndim))))


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text())
states = st.recursive(
    st.one_of(scalars, tensors()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.one_of(st.text(), st.integers()), inner, max_size=4),
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=60)
@given(states)
def test_any_state_comes_back_exactly(state: Any) -> None:
    assert same(decode(encode(state), where="x"), state)


@settings(deadline=None, max_examples=60)
@given(state=states, data=st.data())
def test_no_flipped_bit_and_no_cut_goes_unnoticed(state: Any, data: st.DataObject) -> None:
    content = encode(state)
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DamagedFileError, match="'x' is damaged"):
        decode(bytes(flipped), where="'x'")
    with pytest.raises(DamagedFileError):
        decode(content[: data.draw(st.integers(0, len(content) - 1))], where="x")
    with pytest.raises(DamagedFileError):
        decode(content + data.draw(st.binary(min_size=1, max_size=9)), where="x")


def test_every_single_bit_of_a_small_file_counts() -> None:
    content = encode({"w": torch.tensor([1.5]), "epoch": 3})
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedFileError):
            decode(bytes(flipped), where="x")


def test_texts_that_look_like_the_digest_do_no_harm() -> None:
    state = ["0" * 64, '"sha256":"' + "0" * 64, {'"sha256":"': "1" * 64}, "\ud800"]
    content = encode(state)
    assert decode(content, where="x") == state


def test_a_tensor_in_two_places_is_stored_once_and_shared_again() -> None:
    weight = torch.randn(100, 100)
    content = encode({"a": weight, "b": [weight, weight.detach()]})
    assert len(content) < 1.5 * 40_000
    state = decode(content, where="x")
    state["a"].fill_(7)
    assert state["b"][0].unique().tolist() == [7]
    assert state["b"][1] is state["a"]


def test_views_of_one_memory_are_kept_apart() -> None:
    flat = torch.arange(10.0)
    state = {"all": flat, "head": flat[:5], "tail": flat[5:], "table": flat.view(2, 5)}
    loaded = decode(encode(state), where="x")
    assert same(loaded, state)
    loaded["head"].zero_()
    assert torch.equal(loaded["all"], flat)


def test_memory_layout_survives_and_expansion_does_not() -> None:
    last = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    loaded = decode(encode([last, torch.ones(1).expand(1000), last.conj()]), where="x")
    assert loaded[0].stride() == last.stride()
    assert torch.equal(loaded[0], last)
    assert torch.equal(loaded[1], torch.ones(1000))


def test_conjugate_views_hold_their_values() -> None:
    value = torch.tensor([1 + 2j])
    assert torch.equal(decode(encode([value, value.conj()]), where="x")[1], value.conj())


def test_a_whole_training_state_continues_bit_for_bit(tmp_path: Path) -> None:
    def made() -> tuple[nn.Module, torch.optim.Optimizer, torch.optim.Optimizer]:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        sgd = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
        return net, sgd, torch.optim.Adam(net[3].parameters(), 1e-3)

    def step(net: nn.Module, *optimisers: torch.optim.Optimizer) -> None:
        images = torch.randn(8, 1, 4, 4)
        net.zero_grad()
        net(images).square().mean().backward()
        for optimiser in optimisers:
            optimiser.step()

    net, *optimisers = made()
    for _ in range(3):
        step(net, *optimisers)
    parts = (net, *optimisers)
    state = {"parts": [part.state_dict() for part in parts], "random": torch.get_rng_state()}
    save(tmp_path / "c.safetensors", state)
    for _ in range(2):
        step(net, *optimisers)

    other, *others = made()
    loaded = load(tmp_path / "c.safetensors")
    for part, kept in zip((other, *others), loaded["parts"], strict=True):
        part.load_state_dict(kept)
    torch.set_rng_state(loaded["random"])
    for _ in range(2):
        step(other, *others)
    for mine, resumed in zip(parts, (other, *others), strict=True):
        assert same(dict(mine.state_dict()), dict(resumed.state_dict()))


# --- what cannot be kept ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    [
        object(),
        {1.5: 0},
        {True: 0},
        {None: 0},
        {1, 2},
        b"bytes",
        torch.zeros(2, dtype=torch.complex128),
        torch.zeros(2).to_sparse(),
        torch.zeros(2, device="meta"),
    ],
)
def test_what_a_checkpoint_cannot_hold_is_refused_when_written(state: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        save(tmp_path / "c", {"x": [state]})
    assert list(tmp_path.iterdir()) == []


def test_too_deep_is_refused_when_written() -> None:
    deep: Any = 0
    for _ in range(70):
        deep = [deep]
    with pytest.raises(ValueError, match="64 deep"):
        encode(deep)


# --- hostile files ---------------------------------------------------------------------------


def forged(structure: str, tensors: dict[str, Any] | None = None, data: bytes = b"") -> bytes:
    """A file with a right digest and whatever content."""
    zeros = "0" * 64
    metadata = {"format": "dots-checkpoint-1", "sha256": zeros, "structure": structure}
    header = json.dumps({"__metadata__": metadata, **(tensors or {})}, separators=(",", ":"))
    content = struct.pack("<Q", len(header)) + header.encode() + data
    return content.replace(zeros.encode(), hashlib.sha256(content).hexdigest().encode(), 1)


FLOAT = {"0": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}


def test_the_forger_can_forge() -> None:
    structure = '{"state":{"tensor":0},"strides":{}}'
    assert decode(forged(structure, FLOAT, b"\0" * 16), where="x").tolist() == [0] * 4


@pytest.mark.parametrize(
    "structure",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"state":1}',
        '{"state":{"tensor":1},"strides":{}}',
        '{"state":{"tensor":"0"},"strides":{}}',
        '{"state":{"tensor":true},"strides":{}}',
        '{"state":{"pickle":"x"},"strides":{}}',
        '{"state":{"float":"zero"},"strides":{}}',
        '{"state":{"dict":[[1]]},"strides":{}}',
        '{"state":{"dict":[[[1],2]]},"strides":{}}',
        '{"state":{"dict":[[true,2]]},"strides":{}}',
        '{"state":{"tuple":{}},"strides":{}}',
        '{"state":0,"strides":[]}',
        '{"state":0,"strides":{"7":[1]}}',
        '{"state":0,"strides":{"0":7}}',
        '{"state":0,"strides":{"0":[1000000000000]}}',
        '{"state":0,"strides":{"0":[0]}}',
        '{"state":0,"strides":{"0":[-1]}}',
        '{"state":0,"strides":{"0":[1,1]}}',
        '{"state":0,"strides":{"0":["1"]}}',
        '{"state":' + "9" * 5000 + ',"strides":{}}',
        '{"state":' + "[" * 500 + "]" * 500 + ',"strides":{}}',
        '{"state":' + "[" * 500_000,
    ],
)
def test_a_forged_structure_is_refused(structure: str) -> None:
    start = time.perf_counter()
    with pytest.raises(DamagedFileError) as caught:
        decode(forged(structure, FLOAT, b"\0" * 16), where="x")
    assert time.perf_counter() - start < 5
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 8,
        b"\xff" * 8,
        struct.pack("<Q", 2**40),
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        b"\x80\x04\x95" + b"c__builtin__\neval\n" * 10,
        forged("{}", {"0": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
        forged("{}", {"0": {"dtype": "F32", "shape": [4], "data_offsets": [0, 4]}}, b"\0" * 4),
        forged("{}", {"0": {"dtype": "X", "shape": [], "data_offsets": [0, 0]}}),
        forged("{}", FLOAT, b"\0" * 17),
        forged("{}").replace(b"dots-checkpoint-1", b"dots-checkpoint-2"),
    ],
)
def test_what_is_no_checkpoint_is_refused(content: bytes) -> None:
    with pytest.raises(DamagedFileError):
        decode(content, where="x")


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_noise_is_refused(content: bytes) -> None:
    with pytest.raises(DamagedFileError):
        decode(content, where="x")


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["tensor", "tuple", "dict", "float", "state", "strides", "0"]),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(state=json_values, strides=json_values)
def test_any_forged_structure_is_read_or_refused(state: Any, strides: Any) -> None:
    content = forged(json.dumps({"state": state, "strides": strides}), FLOAT, b"\0" * 16)
    try:
        read = decode(content, where="x")
    except DamagedFileError:
        return
    assert same(decode(encode(read), where="x"), read), "what is read is a state"


# --- files -----------------------------------------------------------------------------------


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    with pytest.raises(UserError, match=r"no checkpoint .*c\.safetensors"):
        load(path)
    path.write_bytes(encode([1])[:-1])
    with pytest.raises(DamagedFileError, match=r"c\.safetensors' is damaged"):
        load(path)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    with open(path, "wb") as file:
        file.truncate(2**40)  # sparse: no disk is used
    with pytest.raises(DamagedFileError, match="too large"):
        load(path)
