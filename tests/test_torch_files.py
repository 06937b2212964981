"""Checkpoints of PyTorch's, made here byte by byte: what is read, and what is refused (with PyTorch: tests/parity)."""

from __future__ import annotations

import collections
import io
import pickle
import struct
import zipfile

import numpy as np
import pytest

import graphc as gc
from graphc.core.errors import FileFormatError


class Said:
    """Is pickled as the name of a module's attribute."""

    def __init__(self, module, name):
        self.module, self.name = module, name

    def __reduce__(self):
        return f"{self.module}\n{self.name}"


class Called:
    """Is pickled as a call of a named function."""

    def __init__(self, path, *args):
        self.path, self.args = path, args


class Stored:
    """Is pickled as a storage."""

    def __init__(self, kind, key, n, location="cpu"):
        self.identity = ("storage", f"torch.{kind}", key, location, n)


class Writer(pickle._Pickler):
    """Writes names that cannot be imported here."""

    def persistent_id(self, obj):
        if isinstance(obj, Stored):
            word, kind, *rest = obj.identity
            return (word, Name(kind), *rest)
        return None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Name):
            module, _, name = obj.path.rpartition(".")
            self.write(b"c" + f"{module}\n{name}\n".encode())
        elif isinstance(obj, Called):
            self.save(Name(obj.path))
            self.save(tuple(obj.args))
            self.write(b"R")
        else:
            super().save(obj, save_persistent_id)


class Name:
    def __init__(self, path):
        self.path = path


def pickled(obj):
    out = io.BytesIO()
    Writer(out, 2).dump(obj)
    return out.getvalue()


def tensor(storage, *lying):
    return Called("torch._utils._rebuild_tensor_v2", storage, *lying, False, collections.OrderedDict())


def archive(obj, storages=None, byteorder="little", compression=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as file:
        file.writestr("archive/data.pkl", obj if isinstance(obj, bytes) else pickled(obj))
        file.writestr("archive/byteorder", byteorder)
        for key, content in (storages or {}).items():
            file.writestr(f"archive/data/{key}", content)
    return out.getvalue()


def legacy(obj, storages):
    head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}]
    parts = [pickle.dumps(x, 2) for x in head] + [pickled(obj), pickle.dumps(list(storages), 2)]
    return b"".join([*parts, *(struct.pack("<q", len(x) // 4) + x for x in storages.values())])


def load(content, **options):
    return gc.load(io.BytesIO(content), **options)


FOUR = np.arange(4, dtype=np.float32).tobytes()
TWO_BY_TWO = (0, (2, 2), (2, 1))
A = Stored("FloatStorage", "0", 4)


@pytest.mark.parametrize("made", [archive, legacy])
def test_tensors_share_their_storage(made):
    found = load(
        made(
            {"a": tensor(A, *TWO_BY_TWO), "b": tensor(A, 1, (3,), (1,)), "t": tensor(A, 0, (2, 2), (1, 2))}, {"0": FOUR}
        )
    )
    assert found["a"].tolist() == [[0, 1], [2, 3]] and found["t"].tolist() == [[0, 2], [1, 3]]
    assert found["t"].stride() == (1, 2)
    found["b"][0] = 9
    assert found["a"].tolist() == [[0, 9], [2, 3]]


def test_the_other_byte_order():
    assert load(archive(tensor(A, *TWO_BY_TWO), {"0": np.arange(4, dtype=">f4").tobytes()}, "big")).tolist() == [
        [0, 1],
        [2, 3],
    ]


@pytest.mark.parametrize("dtype", ["Float", "Double", "Half", "Long", "Int", "Short", "Char", "Byte", "Bool"])
def test_dtypes(dtype):
    np_dtype = np.dtype(
        {"Float": "f4", "Double": "f8", "Half": "f2", "Long": "i8", "Int": "i4", "Short": "i2", "Char": "i1", "Byte": "u1",
         "Bool": "?"}[dtype]
    )  # fmt: skip
    found = load(
        archive(tensor(Stored(f"{dtype}Storage", "0", 2), 0, (2,), (1,)), {"0": np.ones(2, np_dtype).tobytes()})
    )
    assert found.numpy().dtype == np_dtype and found.tolist() == [1, 1]


def test_plain_values():
    value = {"epoch": 3, "loss": [0.5, None, True], "names": ("a", b"b"), 1: {2, 3}, "big": 1 << 70}
    assert load(archive(value)) == value
    ordered = collections.OrderedDict(a=1)
    ordered._metadata = {"": {"version": 2}}
    assert load(archive(ordered)) == ordered
    array = np.arange(6.0).reshape(2, 3).T
    found = load(
        archive({"a": array, "x": np.float32(2), "dtype": Name("torch.float16"), "at": Called("torch.device", "cpu")})
    )
    assert np.array_equal(found["a"], array) and found["x"] == 2 and found["dtype"] is gc.float16
    assert found["at"] == gc.device("cpu")


def test_parameters_want_a_gradient():
    made = Called("torch._utils._rebuild_parameter", tensor(A, *TWO_BY_TWO), True, collections.OrderedDict())
    assert load(archive({"p": made}, {"0": FOUR}))["p"].requires_grad


def test_map_location():
    content = archive({"a": tensor(Stored("FloatStorage", "0", 4, "cuda:1"), *TWO_BY_TWO)}, {"0": FOUR})
    asked = []
    for where in (None, "cpu", gc.device("cpu"), {"cuda:1": "cpu"}, {"cuda:0": "nowhere"}):
        assert load(content, map_location=where)["a"].device == gc.device("cpu")
    load(content, map_location=lambda storage, location: asked.append(location))
    assert asked == ["cuda:1"]
    assert load(content, map_location=lambda storage, location: storage + 1)["a"].tolist() == [[1, 2], [3, 4]]
    with pytest.raises(ZeroDivisionError):
        load(content, map_location=lambda storage, location: 1 / 0)


CODE = "takes code|only that class's code can make"


@pytest.mark.parametrize(
    "obj",
    [
        Called("os.system", "touch owned"), Called("builtins.eval", "1"), Called("builtins.getattr", "a", "b"),
        Name("os.system"),
        [Name("posix.system")], (1, Name("subprocess.Popen")), {"model": Called("my.module.Net")}, {Name("a.b"): 1},
        Called("torch.storage._load_from_bytes", b""), Called("collections.defaultdict", Name("os.system")),
        Called("numpy.core.multiarray.scalar", Called("numpy.dtype", "O8"), b"12345678"), Called("functools.partial", 1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("made", [archive, lambda obj: legacy(obj, {})], ids=["zip", "legacy"])
def test_nothing_in_a_file_is_run(obj, made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileFormatError):
        load(made(obj), weights_only=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_objects_are_refused(protocol):
    with pytest.raises(FileFormatError, match=f"{CODE}|damaged"):
        load(archive(pickle.dumps({"net": Name("x")}, protocol)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive(tensor(A, *TWO_BY_TWO), {"0": FOUR[:12]}), "storage '0' is too short"),
        (archive(tensor(A, *TWO_BY_TWO)), "storage '0' is missing"),
        (archive(tensor(A, 1, (2, 2), (2, 1)), {"0": FOUR}), "reaches beyond its storage"),
        (archive(tensor(A, 0, (2, 1 << 40), (0, 1)), {"0": FOUR}), "reaches beyond its storage"),
        (archive(tensor(A, -1, (2,), (1,)), {"0": FOUR}), "reaches beyond its storage"),
        (archive(tensor(A, 3, (2,), (-1,)), {"0": FOUR}), "reaches beyond its storage"),
        (archive(tensor(Stored("FloatStorage", "0", 1 << 50), 0, (2,), (1,)), {"0": FOUR}), "claims more bytes"),
        (archive(tensor(Stored("ComplexFloatStorage", "0", 1), 0, (1,), (1,)), {"0": FOUR}), "a dtype that graphc has not"),
        (archive({"a": 1}, {"0": bytes(1 << 20)}, compression=zipfile.ZIP_DEFLATED), "compressed or encrypted"),
        (legacy(tensor(A, *TWO_BY_TWO), {"0": FOUR[:12]}), "another size"),
        (legacy(tensor(A, *TWO_BY_TWO), {"0": FOUR})[:-4], "too short"),
        (legacy(tensor(A, *TWO_BY_TWO), {"1": FOUR}), "named by nothing"),
        (legacy(tensor(Stored("FloatStorage", "0", 1 << 40), 0, (1,), (1,)), {}), "claims? more bytes"),
        (pickle.dumps({"a": 1}, 2), "no checkpoint of PyTorch's"),
        (archive(b"\x80\x02}(X\x01\x00\x00\x00aK\x01"), "damaged"),
        (archive(b"\x80\x02N(e."), "damaged"), (archive(b"\x80\x02u."), "damaged"), (archive(b"\x80\x02h\x07."), "damaged"),
        (archive(b"\x80\x02NN."), "damaged"), (archive(b"\x80\x02(."), "damaged"), (archive(b"\x80\x02\x85."), "damaged"),
    ],
)  # fmt: skip
def test_damaged_files(content, message):
    with pytest.raises(FileFormatError, match=message):
        load(content)


def test_a_zip_file_without_a_checkpoint_is_refused():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("model/code/__torch__.py", "class Net: ...")
    with pytest.raises(FileFormatError, match=r"no part 'data.pkl'.*TorchScript"):
        load(out.getvalue())


def test_every_truncation_is_refused():
    for content in (
        archive({"a": tensor(A, *TWO_BY_TWO)}, {"0": FOUR}),
        legacy({"a": tensor(A, *TWO_BY_TWO)}, {"0": FOUR}),
    ):
        for n in range(9, len(content), 2):
            with pytest.raises(FileFormatError):
                load(content[:n])


def test_changed_bytes_are_refused_or_harmless():
    content = archive({"a": tensor(A, *TWO_BY_TWO)}, {"0": FOUR})
    for n in range(4, len(content), 3):
        changed = bytearray(content)
        changed[n] ^= 0xFF
        try:
            load(bytes(changed))
        except (FileFormatError, gc.errors.GraphcError):
            continue


def test_a_storage_that_two_parts_claim_is_refused():
    """Parts that overlap would let a small file grow: a zip bomb."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("archive/data.pkl", pickled(1))
        for i in range(20):
            file.writestr(f"archive/data/{i}", bytes(10_000))
        for info in file.infolist()[2:]:
            info.header_offset = file.infolist()[1].header_offset
            info.file_size = info.compress_size = 150_000
    with pytest.raises(FileFormatError):
        load(out.getvalue())
