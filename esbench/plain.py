"""Serialise plain data, arrays and tensors without pickle, so that reading them executes no code.

A value is a tree of None, bool, int, float, str, bytes, list, tuple, dict, NumPy arrays and numbers, and torch tensors.
The bytes are

    MAGIC | length of the head | head: JSON, one entry per buffer and the tree | buffers | CRC-32 of all before

where the tree refers to the buffers by number. Everything is restored to the bit: NaN, the sign of a zero, the type of
each number, the memory order of each tensor. Tensors of a GPU come back to the device that the reader names.
"""

from __future__ import annotations

import array
import json
import math
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import torch

MAGIC = b"esbench state 1\n"

#: The maximum depth of a tree, far more than a state has, to detect a list that contains itself.
DEPTH = 64

#: Kinds of NumPy arrays: bool, int, unsigned, float, complex, bytes, str. Others hold objects, dates or records.
KINDS = "biufcSU"

#: A buffer of a tree: a list of floats, bytes, an array or a tensor, as bytes-like objects.
Buffer: TypeAlias = bytes | memoryview


class Content(NamedTuple):
    """What a tree that is read refers to: the buffers, and the device of the tensors that were on a GPU."""

    buffers: list[memoryview]
    device: Any


class NotPlain(TypeError):
    """A value that is not plain data; the message says what it is and where."""


def copied(value: Any, place: str = "", depth: int = DEPTH) -> Any:
    """Return a copy of a value that uses only plain types.

    Args:
        value: a tree; subclasses become their base types.
        place: the place of the value in its tree, for the message.
        depth: how many more levels are allowed.

    Raises:
        NotPlain: something in it is not plain data.
    """
    if not depth:
        raise NotPlain(f"something nested in itself or deeper than {DEPTH} levels{_at(place)}")
    if value is None or isinstance(value, bool):
        return value
    if _is_array(value) or _is_tensor(value):
        return _own(value, place)
    for kind, exactly in _EXACTLY.items():
        if isinstance(value, kind):
            return exactly(value)
    if isinstance(value, list | tuple):
        if all(type(item) is float for item in value):  # a curve
            items = list(value)
        else:
            items = [copied(item, f"{place}[{i}]", depth - 1) for i, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, Mapping):
        return {
            copied(key, f"a key of {place or 'it'}", depth - 1): copied(item, f"{place}[{key!r}]", depth - 1)
            for key, item in value.items()
        }
    raise NotPlain(f"a {type(value).__name__}{_at(place)}")


def dumps(value: Any) -> Iterator[Buffer]:
    """Yield the bytes of a value, piece by piece.

    Raises:
        NotPlain: something in it is not plain data.
    """
    buffers: list[Buffer] = []
    tree = _folded(copied(value), buffers)
    head = json.dumps({"buffers": [len(buffer) for buffer in buffers], "tree": tree}).encode()
    crc = 0
    for piece in (MAGIC, struct.pack("<Q", len(head)), head, *buffers):
        crc = zlib.crc32(piece, crc)
        yield piece
    yield struct.pack("<L", crc)


def loads(data: bytes, device: Any = "cpu") -> Any:
    """Return the value from the bytes of `dumps`.

    Args:
        data: the bytes.
        device: the device of the tensors that were not in main memory.

    Raises:
        ValueError: these are not such bytes, or they are incomplete.
    """
    if not data.startswith(MAGIC):
        raise ValueError("it is not a state of this version of esbench")
    view, at = memoryview(data), len(MAGIC) + 8
    if len(data) < at + 4 or zlib.crc32(view[:-4]) != struct.unpack("<L", view[-4:])[0]:
        raise ValueError("it is truncated or damaged")
    try:
        (length,) = struct.unpack("<Q", view[at - 8 : at])
        head = json.loads(bytes(view[at : at + length]))
        buffers, at = [], at + length
        for length in head["buffers"]:
            if not 0 <= length <= len(data) - 4 - at:
                raise ValueError("a buffer is missing")
            buffers.append(view[at : at + length])
            at += length
        return _unfolded(head["tree"], Content(buffers, device))
    except (KeyError, IndexError, TypeError, AttributeError, RuntimeError, RecursionError, OverflowError) as error:
        raise ValueError(f"it is not a state: {type(error).__name__}: {error}") from error


def _folded(value: Any, buffers: list[Buffer]) -> Any:
    """Return a copied tree as JSON; types that JSON does not have become a list that begins with their name."""

    def buffer(content: Buffer) -> int:
        buffers.append(content)
        return len(buffers) - 1

    if _is_array(value):
        kind = "number" if _is_number(value) else "array"
        return [kind, value.dtype.str, list(value.shape), buffer(value.tobytes())]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else ["float", repr(value)]
    if isinstance(value, bytes):
        return ["bytes", buffer(value)]
    if isinstance(value, list | tuple):
        if len(value) > 8 and all(type(item) is float for item in value):  # a curve: eight bytes each, and fast
            floats = memoryview(array.array("d", value)).cast("B")
            return ["floats", type(value).__name__, buffer(floats)]
        return [type(value).__name__, [_folded(item, buffers) for item in value]]
    if isinstance(value, dict):
        return ["dict", [[_folded(key, buffers), _folded(item, buffers)] for key, item in value.items()]]
    order = sorted(range(value.dim()), key=value.stride, reverse=True)  # the order in memory
    flat = value.cpu().permute(order).contiguous().reshape(-1)
    content = memoryview(flat.view(_torch().uint8).numpy()) if flat.numel() else b""
    dtype = str(value.dtype).removeprefix("torch.")
    return ["tensor", dtype, list(value.shape), order, buffer(content), value.device.type]


def _unfolded(tree: Any, content: Content) -> Any:
    if not isinstance(tree, list):
        return tree
    return _READ[tree[0]](content, *tree[1:])


def _read_dict(content: Content, items: Any) -> dict[Any, Any]:
    return {_unfolded(key, content): _unfolded(item, content) for key, item in items}


def _read_floats(content: Content, kind: str, number: int) -> Any:
    floats = array.array("d")
    floats.frombytes(content.buffers[number])
    return tuple(floats) if kind == "tuple" else floats.tolist()


def _read_array(content: Content, dtype: str, shape: list[int], number: int) -> Any:
    import numpy as np

    kind = np.dtype(dtype)
    if kind.kind not in KINDS:
        raise ValueError(f"there is no array of {dtype}")
    if not content.buffers[number]:
        return np.empty(0, kind).reshape(shape)
    return np.frombuffer(content.buffers[number], np.uint8).copy().view(kind).reshape(shape)


def _read_tensor(
    content: Content, dtype: str, shape: list[int], order: list[int], number: int, place: str = "cpu"
) -> torch.Tensor:
    import torch

    kind = getattr(torch, dtype)
    if not isinstance(kind, torch.dtype):
        raise ValueError(f"there is no tensor of {dtype}")
    within = [shape[i] for i in order]
    if content.buffers[number]:
        flat = torch.frombuffer(bytearray(content.buffers[number]), dtype=torch.uint8).view(kind)
    else:
        flat = torch.empty(0, dtype=kind)
    back = sorted(range(len(order)), key=order.__getitem__)
    tensor = flat.reshape(within).permute(back)
    return tensor if place == "cpu" else tensor.to(content.device)


_READ: dict[str, Callable[..., Any]] = {
    "float": lambda content, text: float(text),
    "bytes": lambda content, number: bytes(content.buffers[number]),
    "list": lambda content, items: [_unfolded(item, content) for item in items],
    "tuple": lambda content, items: tuple(_unfolded(item, content) for item in items),
    "floats": _read_floats,
    "dict": _read_dict,
    "array": _read_array,
    "number": lambda content, *what: _read_array(content, *what)[()],
    "tensor": _read_tensor,
}


#: Conversions from a subclass of a number or text to the plain type, whatever the subclass overrides.
_EXACTLY: dict[type, Callable[[Any], Any]] = {
    int: int.__int__,
    float: float.__float__,
    str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
}


def _own(value: Any, place: str) -> Any:
    """Return an array, a NumPy number or a tensor as its plain type.

    Raises:
        NotPlain: its bytes do not describe it completely.
    """
    if _is_tensor(value):
        torch = _torch()
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise NotPlain(f"a tensor that is sparse, quantised or empty of data{_at(place)}")
        return value.detach().as_subclass(torch.Tensor).resolve_conj().resolve_neg()
    if value.dtype.kind not in KINDS:
        raise NotPlain(f"an array of {value.dtype}{_at(place)}")
    return value if _is_number(value) else sys.modules["numpy"].asarray(value)


def _is_tensor(value: Any) -> bool:
    """Whether it is a tensor; there is none before torch is imported."""
    return "torch" in sys.modules and isinstance(value, _torch().Tensor)


def _is_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray | numpy.generic)


def _is_number(value: Any) -> bool:
    return isinstance(value, sys.modules["numpy"].generic)


def _torch() -> Any:
    return sys.modules["torch"]


def _at(place: str) -> str:
    return f" at {place[:60]}" if place else ""
