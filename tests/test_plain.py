"""Plain data as bytes: everything comes back as it was, and nothing else is taken."""

from __future__ import annotations

import collections
import enum
import math
import os
import pickle
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from esbench.plain import MAGIC, NotPlain, copied, dumps, loads


def tensor(array: np.ndarray) -> torch.Tensor | np.ndarray:
    """Return an array as a tensor, if there are tensors of its kind."""
    try:
        return torch.tensor(array)
    except (TypeError, ValueError):
        return array


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary()
ARRAYS = hnp.arrays(
    hnp.boolean_dtypes() | hnp.integer_dtypes() | hnp.floating_dtypes() | hnp.complex_number_dtypes(),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
KEYS = st.booleans() | st.integers() | st.text() | st.tuples(st.integers(), st.text())
TREES = st.recursive(
    SCALARS | ARRAYS | ARRAYS.map(tensor),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)


def there_and_back(value):
    return loads(b"".join(dumps(value)))


def same(a, b) -> bool:
    """Whether two values are the same to the bit and of the same types."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and same(a.numpy(), b.numpy())
    if isinstance(a, np.ndarray | np.generic):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return a == b


@settings(deadline=None)
@given(TREES)
def test_everything_comes_back_as_it_was(value):
    assert same(there_and_back(value), copied(value))


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.complex64, torch.int8, torch.bool])
def test_a_tensor_of_every_kind_comes_back(kind):
    value = torch.arange(-6, 6).reshape(3, 4).to(kind)
    back = there_and_back(value)
    assert back.dtype == kind
    assert torch.equal(back, value)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 1, 4, 5), (1, 1, 1, 1)])
def test_a_tensor_keeps_its_order_in_memory(shape):
    """An optimiser of one kernel goes through its moments as they lie, beside the weights."""
    value = torch.randn(shape).to(memory_format=torch.channels_last)
    back = there_and_back(value)
    assert torch.equal(back, value)
    assert back.is_contiguous(memory_format=torch.channels_last)
    assert there_and_back(value[0].T if value.dim() == 2 else value.permute(3, 0, 1, 2)).shape[0] == shape[3]


def test_long_lists_of_numbers_keep_their_types():
    value = [0.0] * 20 + [math.nan, -math.inf, -0.0]
    assert same(there_and_back(value), value)
    assert same(there_and_back((*value, 1)), (*value, 1))


def test_subclasses_become_what_they_derive_from():
    class Level(enum.IntEnum):
        LOW = 3

    class Text(str):
        def __str__(self):
            raise RuntimeError("must not be called")

    pair = collections.namedtuple("pair", "a b")
    value = collections.OrderedDict(
        level=Level.LOW, text=Text("x"), pair=pair(1, 2), p=torch.nn.Parameter(torch.ones(2))
    )
    back = there_and_back(value)
    assert [type(item) for item in back.values()] == [int, str, tuple, torch.Tensor]


def endless() -> list:
    items: list = []
    items.append(items)
    return items


class Evil:
    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"a": [1, Evil()]}, r"a Evil at \['a'\]\[1\]"),
        ({"f": len}, r"a builtin_function_or_method at \['f'\]"),
        (torch.nn.Linear(1, 1), "a Linear"),
        ({1, 2}, "a set"),
        (np.array([Evil()]), "an array of object"),
        (np.zeros(2, [("a", "f4")]), "an array of "),
        (torch.eye(2).to_sparse(), "a tensor that is sparse"),
        (endless(), "nested in itself"),
    ],
)
def test_what_is_not_plain_is_refused_with_its_place(value, sentence):
    with pytest.raises(NotPlain, match=sentence):
        b"".join(dumps(value))


WHOLE = b"".join(dumps({"a": [1.5] * 9, "t": torch.ones(3), "n": np.arange(3)}))


@settings(deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_byte_that_was_changed_and_an_end_that_is_missing_are_seen(place, change):
    spoiled = bytearray(WHOLE)
    spoiled[place] ^= change
    for data in (bytes(spoiled), WHOLE[:place]):
        with pytest.raises(ValueError, match=r"it is (not a state|truncated or damaged)"):
            loads(data)


@settings(deadline=None)
@given(
    st.recursive(st.none() | st.integers() | st.text(max_size=6), lambda x: st.lists(x) | st.dictionaries(st.text(), x))
)
def test_a_head_that_was_made_up_is_refused_or_gives_plain_data(tree):
    """The checksum is right: not an accident but an attack."""
    import json
    import zlib

    names = ("tensor", "array", "floats", "dict", "list")
    for made_up in (tree, *([name, tree, tree, tree, 0] for name in names), *([name, tree] for name in names)):
        head = json.dumps({"buffers": [4], "tree": made_up}).encode()
        data = MAGIC + struct.pack("<Q", len(head)) + head + b"abcd"
        try:
            value = loads(data + struct.pack("<L", zlib.crc32(data)))
        except ValueError:
            continue
        copied(value)


def test_a_pickle_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state": Evil()}, tmp_path / "checkpoint.pt")
    for data in (pickle.dumps(Evil()), (tmp_path / "checkpoint.pt").read_bytes()):
        with pytest.raises(ValueError, match="it is not a state of this version of esbench"):
            loads(data)
    assert not (tmp_path / "pwned").exists()


def test_a_tensor_of_a_gpu_comes_to_the_device_that_is_named_and_one_of_main_memory_stays():
    head, buffers = b"".join(dumps([torch.ones(2), torch.ones(3)])).split(b"]]]}", 1)
    head = head.replace(b'"cpu"', b'"cuda"', 1) + b"]]]}"
    length = len(head) - len(MAGIC) - 8
    data = MAGIC + struct.pack("<Q", length) + head[len(MAGIC) + 8 :] + buffers[:-4]
    of_gpu, other = loads(data + struct.pack("<L", zlib.crc32(data)), "meta")
    assert (of_gpu.device.type, other.device.type) == ("meta", "cpu")
