"""A nested state in one safetensors file that vouches for itself.

The tensors are the file's tensors; everything else is JSON in its metadata, with a SHA-256 of
the whole file, so that any cut and any flipped bit is noticed. Nothing in it is executed.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from dots.common.errors import UserError, in_one_line
from dots.common.files import write_bytes

FORMAT = "dots-checkpoint-1"
MAX_DEPTH = 64
MAX_HEADER_BYTES = 32 * 2**20
MAX_BYTES = 64 * 2**30

_NO_DIGEST = b"0" * 64


class DamagedFileError(UserError):
    """A file that is not what was written: cut, altered, or of another kind."""


def save(path: Path, state: Any) -> None:
    """Write `state` to `path`, atomically; see dots.common.files.write_bytes for what is raised.

    A state is a tensor, a number, a text, a bool, None, or a dict (keys: text or whole
    numbers), list or tuple of states, at most 64 deep. Gradients and devices are not kept,
    values, types, strides and the sharing of one tensor in several places are. Raises
    TypeError for anything else, ValueError for a state too deep or of too many parts.
    """
    write_bytes(path, encode(state))


def load(path: Path) -> Any:
    """The state in the file at `path`, its tensors on the CPU.

    Raises UserError where there is no such file, DamagedFileError where it is not as written.
    """
    if not path.is_file():
        raise UserError(f"no checkpoint {str(path)!r}")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DamagedFileError(f"{str(path)!r} is too large for a checkpoint")
        content = path.read_bytes()
    except OSError as error:
        raise DamagedFileError(f"cannot read the checkpoint {str(path)!r}: {error}") from None
    return decode(content, where=repr(str(path)))


def encode(state: Any) -> bytes:
    """The bytes of a checkpoint file; see save."""
    tensors = _Tensors()
    plain = _plain(state, tensors.index, 0)
    parts = {"state": plain, "strides": tensors.strides()}
    structure = json.dumps(parts, allow_nan=False, separators=(",", ":"))
    if len(structure) > MAX_HEADER_BYTES // 4:
        raise ValueError(f"a state's structure must have fewer than {MAX_HEADER_BYTES // 4} bytes")
    metadata = {"format": FORMAT, "sha256": _NO_DIGEST.decode(), "structure": structure}
    try:
        content = save_tensors(tensors.by_name(), metadata=metadata)
    except KeyError as error:  # safetensors has no name for the type
        raise TypeError(f"a checkpoint cannot hold tensors of type {error}") from None
    start, end = _digest_place(content, _header_bytes(content))
    digest = hashlib.sha256(content).hexdigest().encode()
    return b"".join((content[:start], digest, content[end:]))


def decode(content: bytes, *, where: str) -> Any:
    """The state of a checkpoint's bytes; `where` names it in errors. Raises DamagedFileError."""
    try:
        structure = json.loads(_verified_structure(content))
        tensors = load_tensors(content)
        for name, stride in structure["strides"].items():
            tensors[name] = _strided(tensors[name], stride)
        return _state(structure["state"], tensors, 0)
    except (
        AttributeError,
        KeyError,
        RecursionError,
        SafetensorError,
        TypeError,
        ValueError,
    ) as error:
        raise DamagedFileError(f"the checkpoint {where} is damaged: {in_one_line(error)}") from None


def _verified_structure(content: bytes) -> str:
    size = _header_bytes(content)
    start, end = _digest_place(content, size)
    hashed = hashlib.sha256(content[:start])
    hashed.update(_NO_DIGEST)
    hashed.update(memoryview(content)[end:])
    if hashed.hexdigest().encode() != content[start:end]:
        raise ValueError("its content does not match its SHA-256")
    metadata = json.loads(content[8 : 8 + size])["__metadata__"]
    if metadata["format"] != FORMAT:
        raise ValueError(f"its format is not {FORMAT}")
    structure = metadata["structure"]
    if not isinstance(structure, str):
        raise TypeError("its structure is no text")
    return structure


def _digest_place(content: bytes, header: int) -> tuple[int, int]:
    """Where the digest stands. Within the structure the quotes of the key are escaped."""
    key = b'"sha256":"'
    start = content.find(key, 8, 8 + header) + len(key)
    end = start + len(_NO_DIGEST)
    if start < 8 + len(key) or end > 8 + header:
        raise ValueError("it has no SHA-256")
    return start, end


def _header_bytes(content: bytes) -> int:
    """The length of a safetensors header, which follows the first eight bytes."""
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > min(len(content) - 8, MAX_HEADER_BYTES):
        raise ValueError("it is cut short or no checkpoint")
    return size


class _Tensors:
    """The distinct tensors of a state: one that occurs twice is stored once."""

    def __init__(self) -> None:
        self._stored: list[Tensor] = []
        self._known: dict[Any, int] = {}

    def index(self, tensor: Tensor) -> int:
        """The number under which `tensor` is stored."""
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise TypeError("a checkpoint can hold dense tensors only")
        tensor = tensor.detach().resolve_conj().resolve_neg()
        memory = tensor.data_ptr() if tensor.numel() else object()
        key = (memory, tensor.device, tensor.dtype, tensor.shape, tensor.stride())
        if key not in self._known:
            self._known[key] = len(self._stored)
            self._stored.append(tensor)
        return self._known[key]

    def strides(self) -> dict[str, list[int]]:
        """The strides of those that fill their memory in another order, as channels-last."""
        return {
            str(number): list(tensor.stride())
            for number, tensor in enumerate(self._stored)
            if not tensor.is_contiguous() and _is_dense(tensor.shape, tensor.stride())
        }

    def by_name(self) -> dict[str, Tensor]:
        """Copies, for safetensors refuses tensors that share memory."""
        contiguous = torch.contiguous_format
        return {
            str(number): tensor.cpu().clone(memory_format=contiguous)
            for number, tensor in enumerate(self._stored)
        }


def _plain(value: Any, index: Callable[[Tensor], int], depth: int) -> Any:
    """`value` as JSON: objects stand for what JSON lacks, arrays for lists."""
    if depth > MAX_DEPTH:
        raise ValueError(f"a state must be nested at most {MAX_DEPTH} deep")
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, Tensor):
        return {"tensor": index(value)}
    if isinstance(value, list):
        return [_plain(entry, index, depth + 1) for entry in value]
    if isinstance(value, tuple):
        return {"tuple": [_plain(entry, index, depth + 1) for entry in value]}
    if isinstance(value, dict):
        if not all(isinstance(key, str | int) and not isinstance(key, bool) for key in value):
            raise TypeError("the keys of a state must be texts or whole numbers")
        return {"dict": [[key, _plain(entry, index, depth + 1)] for key, entry in value.items()]}
    raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}")


def _state(value: Any, tensors: dict[str, Tensor], depth: int) -> Any:
    """The inverse of _plain. Raises ValueError, KeyError or TypeError for anything else."""
    if depth > MAX_DEPTH:
        raise ValueError("its structure is nested too deeply")
    match value:
        case None | bool() | int() | str() | float():
            return value
        case list():
            return [_state(entry, tensors, depth + 1) for entry in value]
        case {"float": str(text)}:
            return float(text)
        case {"tensor": int(index)}:
            return tensors[str(index)]
        case {"tuple": list(entries)}:
            return tuple(_state(entry, tensors, depth + 1) for entry in entries)
        case {"dict": list(pairs)}:
            return {_key(key): _state(entry, tensors, depth + 1) for key, entry in pairs}
    raise ValueError("its structure is not of a checkpoint")


def _key(key: Any) -> str | int:
    if isinstance(key, str | int) and not isinstance(key, bool):
        return key
    raise ValueError("its structure has a key that is neither text nor number")


def _strided(tensor: Tensor, stride: list[Any]) -> Tensor:
    """A copy of `tensor` with these strides. Raises ValueError where they are not dense."""
    if not all(type(step) is int and 0 <= step < 2**62 for step in stride):
        raise ValueError("its structure has strides that are no whole numbers")
    if len(stride) != tensor.ndim or not _is_dense(tensor.shape, stride):
        raise ValueError("its structure has strides of no dense tensor")
    return torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype).copy_(tensor)


def _is_dense(shape: Sequence[int], stride: Sequence[int]) -> bool:
    """Whether the elements fill their memory without gap or overlap, in whatever order."""
    expected = 1
    for step, size in sorted(zip(stride, shape, strict=True)):
        if size != 1 and step != expected:
            return False
        expected *= size
    return True
