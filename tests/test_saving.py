"""Files: whatever went in comes out, and a bad file is refused with a reason."""

from __future__ import annotations

import io
import json
import math
import os
import struct
from collections import Counter, OrderedDict, namedtuple

import ml_dtypes
import numpy as np
import pytest

from graphc import saving
from graphc.core.errors import ArgumentError, ArgumentTypeError, FileFormatError, SymbolicError
from graphc.core.tape import TypeOnly
from graphc.core.tensor_types import DTYPES, TensorType, float32
from graphc.functions.creation import tensor
from graphc.tensors import Tensor, new_tensor


def there_and_back(obj, tmp_path):
    path = tmp_path / "file.gc"
    saving.save(obj, path)
    assert os.listdir(tmp_path) == ["file.gc"]
    return saving.load(path)


def same_array(a, b):
    assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)])
def test_every_dtype_and_shape(dtype, shape, tmp_path):
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype.np)
    got = there_and_back(new_tensor(array), tmp_path)
    assert isinstance(got, Tensor)
    same_array(got.numpy(), array)


def test_special_numbers_keep_their_bits(tmp_path):
    array = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 5e-324])
    same_array(there_and_back(new_tensor(array), tmp_path).numpy(), array)
    half = np.array([np.nan, -0.0, 1e-40]).astype(ml_dtypes.bfloat16)
    same_array(there_and_back(new_tensor(half), tmp_path).numpy(), half)


@pytest.mark.parametrize("view", [lambda a: a.T, lambda a: a[::-1], lambda a: a[:, ::2], lambda a: a[1]])
def test_non_contiguous_tensors(view, tmp_path):
    array = view(np.arange(12.0).reshape(3, 4))
    np.testing.assert_array_equal(there_and_back(new_tensor(array), tmp_path).numpy(), array)


def test_any_nesting_of_plain_values(tmp_path):
    obj = {
        "ints": [1, -(2**80), True, None],
        "floats": (0.1, -0.0, math.inf, 1e300),
        3: {"deeper": ("x", [], {}), (1, "key"): b"\x00\xff"},
        "ordered": OrderedDict(b=1, a=2),
        "counter": Counter({2: 3}),
        "set": {1, 2},
        "dtype": float32,
        "text": "ünï\ud800",
        False: 0.5,
    }
    got = there_and_back(obj, tmp_path)
    assert got == obj
    assert list(got) == list(obj) and repr(got["floats"]) == repr(obj["floats"])
    assert type(got["ordered"]) is OrderedDict and type(got["counter"]) is Counter and got["dtype"] is float32
    assert math.isnan(there_and_back(math.nan, tmp_path))


def test_arrays_and_numpy_numbers_stay_what_they_are(tmp_path):
    got = there_and_back({"a": np.arange(3, dtype=np.int16), "n": np.float64(0.5)}, tmp_path)
    same_array(got["a"], np.arange(3, dtype=np.int16))
    assert isinstance(got["n"], np.ndarray) and got["n"] == 0.5


def test_leaves_keep_requires_grad_and_results_do_not(tmp_path):
    w = tensor([1.0, 2.0], requires_grad=True)
    got = there_and_back([w, w * 2, w.detach()], tmp_path)
    assert [x.requires_grad for x in got] == [True, False, False]


def test_shared_memory_is_stored_once_and_shared_again(tmp_path):
    big = tensor(np.zeros(10_000))
    got = there_and_back({"a": big, "b": big.detach(), "row": big[:1]}, tmp_path)
    assert os.path.getsize(tmp_path / "file.gc") < 90_000
    got["a"][0] = 7.0
    assert got["b"][0].item() == 7.0
    assert got["row"][0].item() == 0.0


def test_a_loaded_tensor_can_be_written_and_does_not_hold_the_file(tmp_path):
    got = there_and_back(tensor([1.0]), tmp_path)
    os.unlink(tmp_path / "file.gc")
    got += 1
    assert got.item() == 2.0


def test_file_objects(tmp_path):
    buffer = io.BytesIO()
    saving.save({"x": tensor([1, 2])}, buffer)
    buffer.seek(0)
    assert saving.load(buffer, map_location="cpu", weights_only=True)["x"].tolist() == [1, 2]


def test_tensors_have_readable_names_in_the_file(tmp_path):
    saving.save({"model": {"0.weight": tensor([1.0])}, "list": [tensor([2.0])]}, tmp_path / "f")
    assert set(saving.load_file(tmp_path / "f")) == {"model.0.weight", "list.0"}
    saving.save({"a.b": tensor([1.0]), "a": {"b": tensor([2.0])}}, tmp_path / "f")
    assert saving.load(tmp_path / "f")["a"]["b"].item() == 2.0


def test_plain_safetensors_files_both_ways(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "z": np.array(True), "e": np.zeros((0, 2), np.int8)}
    library.save_file(arrays, tmp_path / "theirs", metadata={"format": "np"})
    for got in (saving.load_file(tmp_path / "theirs"), saving.load(tmp_path / "theirs")):
        assert set(got) == set(arrays)
        for name, array in arrays.items():
            same_array(got[name].numpy(), array)
    saving.save_file({name: new_tensor(array) for name, array in arrays.items()}, tmp_path / "ours", {"note": "x"})
    for name, array in library.load_file(tmp_path / "ours").items():
        same_array(array, arrays[name])
    saving.save({"nested": [new_tensor(arrays["a"])], "x": 1}, tmp_path / "nested")
    same_array(library.load_file(tmp_path / "nested")["nested.0"], arrays["a"])


# --- refusals -----------------------------------------------------------------------------------------------------------


Point = namedtuple("Point", "x y")


class Stateful:
    def state_dict(self):
        return {}


@pytest.mark.parametrize(
    ("obj", "error", "message"),
    [
        ({"a": [1, object()]}, ArgumentTypeError, r"cannot save obj\['a'\]\[1\]: builtins.object is neither"),
        ({"m": Stateful()}, ArgumentTypeError, "save its state_dict"),
        ([lambda: 0], ArgumentTypeError, r"cannot save obj\[0\]: builtins.function"),
        (Point(1, 2), ArgumentTypeError, "Point is neither"),
        ({"c": np.array([1j])}, ArgumentTypeError, r"cannot save obj\['c'\]: can't convert numpy type complex128"),
        (1j, ArgumentTypeError, "complex is neither"),
    ],
)
def test_what_cannot_be_saved_is_named_and_the_old_file_stays(obj, error, message, tmp_path):
    path = tmp_path / "file.gc"
    saving.save("before", path)
    with pytest.raises(error, match=message):
        saving.save(obj, path)
    assert saving.load(path) == "before" and os.listdir(tmp_path) == ["file.gc"]


def test_an_object_that_contains_itself(tmp_path):
    loop = []
    loop.append(loop)
    with pytest.raises(ArgumentError, match=r"obj\[0\]: it contains itself"):
        saving.save(loop, tmp_path / "f")
    twice = [1]
    assert there_and_back([twice, twice], tmp_path) == [[1], [1]]


def test_a_symbolic_tensor_is_refused(tmp_path):
    symbolic = new_tensor(TypeOnly(TensorType((2,), float32)))
    with pytest.raises(SymbolicError, match=r"cannot save obj\['x'\]: it is symbolic"):
        saving.save({"x": symbolic}, tmp_path / "f")
    assert not os.listdir(tmp_path)


def test_save_file_takes_only_tensors(tmp_path):
    with pytest.raises(ArgumentTypeError, match="dict of str to Tensor, got 'a': int"):
        saving.save_file({"a": 1}, tmp_path / "f")
    with pytest.raises(ArgumentError, match="'__metadata__'"):
        saving.save_file({"__metadata__": tensor(1)}, tmp_path / "f")


def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path, monkeypatch):
    path = tmp_path / "file.gc"
    saving.save("before", path)

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(saving.os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        saving.save("after", path)
    assert saving.load(path) == "before" and os.listdir(tmp_path) == ["file.gc"]


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "file.gc"
    saving.save({"a": tensor([1.0, 2.0]), "b": tensor([True])}, path)
    content = path.read_bytes()
    for n in range(len(content)):
        path.write_bytes(content[:n])
        with pytest.raises(FileFormatError, match=NOT_READABLE):
            saving.load(path)
    path.write_bytes(content + b"x")
    with pytest.raises(FileFormatError, match=NOT_READABLE):
        saving.load(path)


NOT_READABLE = "is not a readable safetensors file: .+"


def file_with(header, data=b"", raw=None):
    text = raw if raw is not None else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", NOT_READABLE),
        (b"PK\x03\x04 a zip file", "no readable checkpoint: its zip container is damaged"),
        (b"\x80\x02 a pickle", "no readable checkpoint: its pickle is damaged"),
        (b"some text that is no header at all", NOT_READABLE),
        (file_with(None, raw=b"{"), NOT_READABLE),
        (file_with(None, raw=b"\xff\xfe"), NOT_READABLE),
        (file_with([]), NOT_READABLE),
        (file_with({"__metadata__": {"a": 1}}), NOT_READABLE),
        (file_with({"a": {"dtype": "F32"}}), NOT_READABLE),
        (file_with({"a": 3}), NOT_READABLE),
        (file_with({"a": entry("C64", (1,), (0, 8))}, b"12345678"), "has the dtype 'C64'; graphc reads BOOL"),
        (file_with({"a": entry(shape=(2,))}, b"1234"), NOT_READABLE),
        (file_with({"a": entry(shape=(-1,))}, b"1234"), NOT_READABLE),
        (file_with({"a": entry(shape=(1.0,))}, b"1234"), NOT_READABLE),
        (file_with({"a": entry(offsets=(4, 8))}, b"12345678"), NOT_READABLE),
        (file_with({"a": entry(), "b": entry()}, b"1234"), NOT_READABLE),
        (file_with({"a": entry("BOOL", (1,), (0, 1))}, b"\x02"), "other bytes than 0 and 1"),
        (file_with({"__metadata__": {"graphc": "{"}}), "the nesting in the file is damaged"),
        (file_with({"__metadata__": {"graphc": '{"tensor":"a"}'}}), "the nesting in the file is damaged"),
        (file_with({"__metadata__": {"graphc": '{"call":"os.system"}'}}), "a value of unknown kind 'call'"),
        (file_with({"__metadata__": {"graphc": "{}"}}), "the nesting in the file is damaged"),
        (file_with({"__metadata__": {"graphc": '{"bytes":"!"}'}}), "the nesting in the file is damaged"),
    ],
)
def test_foreign_and_damaged_files(content, message, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=message) as caught:
        saving.load(path)
    assert isinstance(caught.value, RuntimeError) and isinstance(caught.value, ValueError)


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        saving.load(tmp_path / "none")
