"""Saving and loading in the safetensors container: tensors as raw bytes, the nesting around them as JSON; no pickle.
PyTorch's own files are read too (graphc/torch_files.py).

The safetensors library writes and checks the container (https://huggingface.co/docs/safetensors). Its map of strings holds
the nesting of the saved object, with tensors by name; any other safetensors reader sees the tensors.
"""

from __future__ import annotations

import base64
import io
import json
import math
import os
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from graphc.core.arrays import host, is_array, shadow_of
from graphc.core.context import SLOTS, eagerly
from graphc.core.errors import ArgumentError, ArgumentTypeError, FileFormatError, SymbolicError
from graphc.core.lazy import lazy_import
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import (
    BY_NAME,
    DType,
    bfloat16,
    bool_,
    dtype_of,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)
from graphc.torch_files import TorchFile, is_torch_file

safetensors = lazy_import("safetensors")
safetensors_numpy = lazy_import("safetensors.numpy")

_CODES: dict[str, DType] = {
    "BOOL": bool_, "U8": uint8, "I8": int8, "I16": int16, "I32": int32, "I64": int64,
    "F16": float16, "BF16": bfloat16, "F32": float32, "F64": float64,
}  # fmt: skip
_NESTING = "graphc"

# -- the nesting ----------------------------------------------------------------------------------


class _Packer:
    """Takes an object apart into tensors by name and a JSON value.

    Every JSON object has one key that says what it stands for; JSON arrays are lists; other JSON values are themselves.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, Any] = {}
        self._names: dict[Any, str] = {}
        self._open: set[int] = set()

    def pack(self, value: Any, path: tuple[Any, ...] = ()) -> Any:
        """The JSON form of `value`; raises ArgumentTypeError naming the keys on `path` for what cannot be saved."""
        if value is None or isinstance(value, bool) or type(value) in (str, int):
            return value
        if isinstance(value, TensorBase):
            return self._tensor(value, path)
        if isinstance(value, np.ndarray | np.generic):
            return {"array": self._store(np.asarray(value), path)}
        if isinstance(value, float):
            return value if math.isfinite(value) else {"float": value.hex()}
        if isinstance(value, DType):
            return {"dtype": value.name}
        if isinstance(value, bytes | bytearray):
            return {"bytes": base64.b64encode(value).decode("ascii")}
        if id(value) in self._open:
            raise ArgumentError(f"cannot save {show(path)}: it contains itself")
        self._open.add(id(value))
        packed = self._container(value, path)
        self._open.discard(id(value))
        return packed

    def _container(self, value: Any, path: tuple[Any, ...]) -> Any:
        if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
            entries = [self.pack(x, (*path, i)) for i, x in enumerate(value)]
            return entries if isinstance(value, list) else {"tuple": entries}
        if isinstance(value, set | frozenset):
            return {"set": [self.pack(x, (*path, i)) for i, x in enumerate(sorted(value, key=repr))]}
        if isinstance(value, Mapping):
            kind = next((name for name, cls in _MAPPINGS.items() if isinstance(value, cls)), "dict")
            return {kind: [[self.pack(key, (*path, key)), self.pack(x, (*path, key))] for key, x in value.items()]}
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        stateful = hasattr(value, "state_dict")
        raise ArgumentTypeError(
            f"cannot save {show(path)}: {kind} is neither a tensor nor a plain value",
            hint="save its state_dict() instead of the object" if stateful else "",
        )

    def _tensor(self, tensor: Any, path: tuple[Any, ...]) -> Any:
        packed = {"tensor": self._store(concrete(tensor, show(path)), path)}
        return packed | {"requires_grad": True} if tensor.requires_grad and tensor.is_leaf else packed

    def _store(self, array: Any, path: tuple[Any, ...]) -> str:
        """Notes an array and returns its name; arrays that are the same memory, also of a device, are stored once."""
        place = shadow_of(array)
        key = (place.__array_interface__["data"][0], place.shape, place.strides, place.dtype)
        if key in self._names and array.size:
            return self._names[key]
        check_dtype(array, show(path))
        name = ".".join(map(str, path)) or "tensor"
        unique, n = name, 1
        while unique in self.arrays or unique == "__metadata__":
            n += 1
            unique = f"{name}#{n}"
        self.arrays[unique] = host(array)
        self._names[key] = unique
        return unique


_MAPPINGS: dict[str, type[dict[Any, Any]]] = {"ordered": OrderedDict, "counter": Counter}


def show(path: tuple[Any, ...]) -> str:
    """A place in a saved object as the user would write it."""
    return "obj" + "".join(f"[{key!r}]" for key in path)


def concrete(tensor: Any, what: str) -> Any:
    """The array of a tensor, on the host or a device; SymbolicError if it has none yet."""
    if not is_array(tensor._data):
        raise SymbolicError(f"cannot save {what}: it is symbolic, its values are known only when the graph runs")
    return tensor._data


def check_dtype(array: Any, what: str) -> DType:
    """The DType of an array to be saved; ArgumentTypeError for one graphc has not."""
    try:
        return dtype_of(array.dtype)
    except TypeError as error:
        raise ArgumentTypeError(f"cannot save {what}: {error}") from None


class _Unpacker:
    """Puts an object together again. `placed(tensor, location)`: the tensor where it is to be."""

    def __init__(self, arrays: Mapping[str, Any], placed: Callable[[Any, str], Any]):
        self.arrays, self.placed = arrays, placed

    def unpack(self, packed: Any) -> Any:
        """What a JSON value stands for."""
        if isinstance(packed, list):
            return list(map(self.unpack, packed))
        if not isinstance(packed, dict):
            return packed
        kind = next(iter(packed))
        if kind not in _UNPACK:
            raise FileFormatError(f"the file holds a value of unknown kind {kind!r}")
        return _UNPACK[kind](self, packed)

    def tensor(self, packed: Any) -> Any:
        """A tensor, a leaf that wants a gradient if it was one."""
        tensor = self.placed(SLOTS.new_tensor(self.arrays[packed["tensor"]]), "cpu")
        return tensor.requires_grad_(True) if packed.get("requires_grad") else tensor

    def pairs(self, pairs: Any) -> Any:
        """The keys and values of a mapping."""
        return ((self.unpack(key), self.unpack(value)) for key, value in pairs)


_UNPACK: dict[str, Callable[[_Unpacker, Any], Any]] = {
    "tensor": _Unpacker.tensor,
    "array": lambda u, packed: u.arrays[packed["array"]],
    "float": lambda u, packed: float.fromhex(packed["float"]),
    "dtype": lambda u, packed: BY_NAME[packed["dtype"]],
    "bytes": lambda u, packed: base64.b64decode(packed["bytes"], validate=True),
    "tuple": lambda u, packed: tuple(map(u.unpack, packed["tuple"])),
    "set": lambda u, packed: set(map(u.unpack, packed["set"])),
    "dict": lambda u, packed: dict(u.pairs(packed["dict"])),
    "ordered": lambda u, packed: OrderedDict(u.pairs(packed["ordered"])),
    "counter": lambda u, packed: Counter(dict(u.pairs(packed["counter"]))),
}

# -- the container --------------------------------------------------------------------------------


def write_arrays(target: Any, arrays: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """Writes arrays by name and a map of strings: to a path at once or not at all, or to an open binary file."""
    plain = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    content = safetensors_numpy.save(plain, dict(metadata) or None)
    if hasattr(target, "write"):
        target.write(content)
        return
    path = os.fspath(target)
    draft = f"{path}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    try:
        with open(draft, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        if os.path.exists(draft):
            os.unlink(draft)
        raise


def read_arrays(source: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """The arrays of a safetensors file by name, and its map of strings.

    Everything is checked before anything is returned; FileFormatError says what is wrong with the file.
    """
    with opened(source) as (file, path):
        return _parse(file.read(), path)


@contextmanager
def opened(source: Any) -> Iterator[tuple[Any, str]]:
    """A binary file with its name, from a path or from an open file, which is read from where it is."""
    if not hasattr(source, "read"):
        with open(source, "rb") as file:
            yield file, os.fspath(source)
    elif hasattr(source, "seekable") and source.seekable() and source.tell() == 0:
        yield source, "the file"
    else:
        yield io.BytesIO(source.read()), "the file"


def _parse(content: bytes, path: str) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        entries = safetensors.deserialize(content)
    except safetensors.SafetensorError as error:
        raise _bad(path, str(error)) from None
    # the header is valid JSON, or deserialize would have refused it; the library does not hand out its map of strings
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    arrays = {}
    for name, entry in entries:
        code = entry["dtype"]
        if code not in _CODES:
            raise _bad(path, f"tensor {name!r} has the dtype {code!r}; graphc reads {', '.join(_CODES)}")
        flat = np.frombuffer(entry["data"], np.uint8).copy()
        if code == "BOOL" and flat.size and flat.max() > 1:
            raise _bad(path, f"tensor {name!r} of bools holds other bytes than 0 and 1")
        arrays[name] = flat.view(_CODES[code].np).reshape(entry["shape"])
    return {name: arrays[name] for name in header if name in arrays}, header.get("__metadata__", {})


def _bad(path: str, why: str) -> FileFormatError:
    return FileFormatError(f"{path} is not a readable safetensors file: {why}")


# -- public --------------------------------------------------------------------------------------


def save(obj: Any, f: Any, **_: Any) -> None:
    """Saves tensors in any nesting of dicts, lists, tuples and plain values (a `state_dict()`, a checkpoint) to a path
    or file.

    One memory is stored once. The file appears complete or not at all. Raises ArgumentTypeError naming the part that is
    neither tensor nor plain value; there is no pickle. PyTorch's pickle options are accepted and unused.
    """
    with eagerly():
        packer = _Packer()
        nesting = json.dumps(packer.pack(obj), separators=(",", ":"), allow_nan=False)
        write_arrays(f, packer.arrays, {_NESTING: nesting})


def load(
    f: Any, map_location: Any = None, pickle_module: Any = None, *, weights_only: bool | None = True, **_: Any
) -> Any:
    """What `save` saved, or what PyTorch saved (`.pt`, `.pth`); for another safetensors file, a dict of its tensors.

    Nothing in a file is ever executed: what takes code to make (a whole module) is refused, whatever `weights_only` says.
    `map_location`: the device tensors go to, a dict from the device they were on to that, or a function of a tensor and the
    name of its device that gives a tensor; without it they come to the CPU. Raises FileFormatError for a foreign or
    damaged file, OSError where there is none. Other options of PyTorch's are unused.
    """
    with eagerly(), opened(f) as (file, path):
        placed = _placing(map_location)
        head = file.read(9)
        file.seek(0)
        if is_torch_file(head):
            try:
                return TorchFile(file, placed).read()
            except FileFormatError as error:
                raise FileFormatError(f"{path} is no readable checkpoint: {error}") from None
        arrays, metadata = _parse(file.read(), path)
        if _NESTING not in metadata:
            return {name: placed(SLOTS.new_tensor(array), "cpu") for name, array in arrays.items()}
        try:
            return _Unpacker(arrays, placed).unpack(json.loads(metadata[_NESTING]))
        except FileFormatError:
            raise
        except (ValueError, KeyError, TypeError, RecursionError, StopIteration) as error:
            raise FileFormatError(f"the nesting in the file is damaged: {error}") from None


def _placing(map_location: Any) -> Callable[[Any, str], Any]:
    """From a tensor and the device it was on to the tensor where it is to be."""

    def placed(tensor: Any, location: str) -> Any:
        if callable(map_location):
            found = map_location(tensor, location)
            return tensor if found is None else found
        target = map_location
        if isinstance(map_location, Mapping):
            target = next((to for at, to in map_location.items() if str(at) == location), None)
        return tensor if target is None else tensor.to(target)

    return placed


def save_file(tensors: Mapping[str, Any], filename: Any, metadata: Mapping[str, str] | None = None) -> None:
    """Writes a dict of tensors as a plain safetensors file, as `safetensors.torch.save_file`.

    Raises ArgumentTypeError for other values.
    """
    arrays = {}
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, TensorBase):
            raise ArgumentTypeError(f"save_file takes a dict of str to Tensor, got {name!r}: {type(tensor).__name__}")
        if name == "__metadata__":
            raise ArgumentError("no tensor may be called '__metadata__' in a safetensors file")
        arrays[name] = host(concrete(tensor, name))
    write_arrays(filename, arrays, dict(metadata or {}))


def load_file(filename: Any, device: Any = None) -> dict[str, Any]:
    """The tensors of any safetensors file by name; FileFormatError for a foreign or damaged one. `device` is unused."""
    with eagerly():
        return {name: SLOTS.new_tensor(array) for name, array in read_arrays(filename)[0].items()}


__all__ = ["load", "load_file", "save", "save_file"]
