"""Checkpoints that PyTorch wrote (`.pt`, `.pth`): the zip format and the one before it, read without PyTorch.

Neither format is documented but by PyTorch's own reader (torch/serialization.py, versions 0.1 to 2.13). A zip file holds
`data.pkl`, a pickle whose tensors name storages, and the bytes of each storage under `data/`. The older format is four
pickles (a magic number, a version, what the machine was like, the object), then one that lists storages, then their bytes.
No code of a file is run (graphc/core/pickles.py), and nothing is given room before the file is known to have bytes for it.
"""

from __future__ import annotations

import io
import math
import struct
import sys
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.core.context import SLOTS
from graphc.core.devices import Device
from graphc.core.errors import FileFormatError
from graphc.core.pickles import Machine, Name
from graphc.core.tensor_types import BY_NAME, DType
from graphc.tensors import TensorSize

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_CHUNK = 1 << 22
_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
    "BoolStorage": "bool",
}  # fmt: skip


def is_torch_file(head: bytes) -> bool:
    """Whether a file that begins with these 9 bytes is a zip file or a pickle rather than one of safetensors."""
    is_length = (
        head[6:] == b"\x00\x00{"
    )  # safetensors begin with the length of a JSON object, which may begin with 0x80
    return head[:4] == _ZIP or (head[:1] == _PICKLE and not is_length)


class Storage:
    """The bytes that tensors share, where they were when they were saved, and the dtype of the elements if it has one."""

    def __init__(self, data: Any, dtype: DType | None, location: str):
        self.data, self.dtype, self.location = data, dtype, location


class _NotPlaced(BaseException):
    """An error of the user's `map_location`, which is no fault of the file."""

    def __init__(self, error: Exception):
        super().__init__(error)
        self.error = error


class TorchFile:
    """A reader of one file. `placed(tensor, location)`: the tensor where it is to be."""

    def __init__(self, file: Any, placed: Callable[[Any, str], Any]):
        self.file, self.placed = file, placed
        self.size = file.seek(0, io.SEEK_END)
        file.seek(0)
        self.storages: dict[str, Storage] = {}
        #: bytes that storages were given so far
        self.given = 0
        self.bytes_of: Callable[[str, int], Any] = lambda key, nbytes: None
        self.byteorder = "little"
        #: whether the bytes of storages are there when tensors are made of them
        self.filled = True

    def read(self) -> Any:
        """The object in the file; FileFormatError where it is damaged or holds what takes code to make."""
        head = self.file.read(4)
        self.file.seek(0)
        try:
            return self.read_zip() if head == _ZIP else self.read_pickles()
        except _NotPlaced as failed:
            raise failed.error from None

    def machine(self) -> Machine:
        """A reader of its pickles."""
        makers: dict[str, Callable[..., Any]] = {
            "torch._utils._rebuild_tensor": lambda storage, *lying: self.tensor(storage, *lying),
            "torch._utils._rebuild_tensor_v2": self.tensor,
            "torch._utils._rebuild_tensor_v3": self.tensor,
            "torch._utils._rebuild_parameter": lambda data, requires_grad, hooks: data.requires_grad_(
                bool(requires_grad)
            ),
            "torch.Size": TensorSize,
            "torch.device": lambda *which: Device(":".join(map(str, which))),
        }
        values = {f"torch.{name}": dtype for name, dtype in BY_NAME.items()}
        return Machine(makers, values, self.storage)

    # --- the formats ----------------------------------------------------------------------------------------------

    def read_zip(self) -> Any:
        """The format since version 1.6."""
        try:
            with zipfile.ZipFile(self.file) as archive:
                records = {info.filename.partition("/")[2]: info for info in archive.infolist()}
                for name, info in records.items():
                    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
                        raise FileFormatError(
                            f"its part {name!r} is compressed or encrypted, as PyTorch's parts are not"
                        )
                if sum(info.file_size for info in records.values()) > self.size:
                    raise FileFormatError("its parts claim more bytes than the file has")
                if "data.pkl" not in records:
                    raise FileFormatError(
                        "it has no part 'data.pkl', as PyTorch's checkpoints have (TorchScript's are code)"
                    )
                if "byteorder" in records:
                    self.byteorder = archive.read(records["byteorder"]).decode("ascii", "replace").strip()

                def bytes_of(key: str, nbytes: int) -> Any:
                    info = records.get(f"data/{key}")
                    if info is None or info.file_size < nbytes:
                        raise FileFormatError(f"its storage {key!r} is {'missing' if info is None else 'too short'}")
                    # NumPy's memory is written at once, and may be written by the user later
                    data, at = np.empty(nbytes, np.uint8), 0
                    with archive.open(info) as part:
                        while chunk := part.read(_CHUNK):
                            n = min(len(chunk), nbytes - at)
                            data[at : at + n] = np.frombuffer(chunk, np.uint8)[:n]
                            at += n
                    return data

                self.bytes_of = bytes_of
                return self.machine().read(archive.read(records["data.pkl"]))
        except FileFormatError:
            raise
        except (zipfile.BadZipFile, EOFError, struct.error, NotImplementedError, RuntimeError, ValueError) as error:
            raise FileFormatError(f"its zip container is damaged: {error}") from None

    def read_pickles(self) -> Any:
        """The format before it: the bytes of the storages follow the object."""
        machine = self.machine()
        if machine.read(self.file) != _MAGIC:
            raise FileFormatError("it is a pickle, but no checkpoint of PyTorch's")
        version, system = machine.read(self.file), machine.read(self.file)
        if version != 1001 or not isinstance(system, dict):
            raise FileFormatError(f"its format has the version {version!r}; graphc reads 1001")
        self.byteorder = "little" if system.get("little_endian", True) else "big"

        def room(key: str, nbytes: int) -> Any:
            self.given += nbytes
            if self.given > self.size:
                raise FileFormatError("its storages claim more bytes than the file has")
            return np.empty(nbytes, np.uint8)

        self.bytes_of, self.filled, begin = room, False, self.file.tell()
        placed, self.placed = self.placed, lambda tensor, location: tensor
        machine.read(self.file)  # tells the storages, whose bytes come later
        end = self.file.tell()
        for key in machine.read(self.file):
            storage = self.storages.get(key)
            head = self.file.read(8)
            if storage is None or len(head) < 8:
                raise FileFormatError(f"its storage {key!r} is {'named by nothing' if storage is None else 'missing'}")
            itemsize = storage.dtype.itemsize if storage.dtype is not None else 1
            if struct.unpack("<q", head)[0] * itemsize != len(storage.data):
                raise FileFormatError(f"its storage {key!r} has another size than the pickle says")
            if self.file.readinto(memoryview(storage.data)) != len(storage.data):
                raise FileFormatError(f"its storage {key!r} is too short")
            self.in_order(storage)
        self.file.seek(begin)
        self.placed = placed
        return self.machine().read(self.file.read(end - begin))

    # --- storages and tensors -------------------------------------------------------------------------------------

    def storage(self, identity: Any) -> Storage:
        """What a pickle names as ("storage", its class, key, location, elements)."""
        if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
            raise FileFormatError("it holds a whole module with its code; graphc runs none: save its state_dict()")
        _, kind, key, location, n = identity[:5]
        if len(identity) > 5 and identity[5] is not None:
            raise FileFormatError("its storages are parts of others, as before PyTorch 0.4; graphc does not read these")
        name = kind.path.rpartition(".")[2] if isinstance(kind, Name) else ""
        if name not in _STORAGES and name != "UntypedStorage":
            raise FileFormatError(f"it holds a {name or kind!r}, a dtype that graphc has not")
        if key not in self.storages:
            dtype = BY_NAME[_STORAGES[name]] if name in _STORAGES else None
            nbytes = n * (1 if dtype is None else dtype.itemsize)
            if not 0 <= nbytes <= self.size:
                raise FileFormatError(f"its storage {key!r} claims more bytes than the file has")
            self.storages[key] = Storage(self.bytes_of(key, nbytes), dtype, str(location))
            if self.filled:
                self.in_order(self.storages[key])
        return self.storages[key]

    def in_order(self, storage: Storage) -> None:
        """Puts the bytes of each element in this machine's order."""
        if self.byteorder != sys.byteorder:
            if storage.dtype is None:
                raise FileFormatError(
                    f"it was written by a {self.byteorder}-endian machine, whose untyped storages have no order"
                )
            storage.data.view(storage.dtype.np).byteswap(inplace=True)

    def tensor(
        self, storage: Any, offset: int, size: Any, stride: Any, requires_grad: bool = False, _hooks: Any = None,
        dtype: Any = None, _metadata: Any = None,
    ) -> Any:  # fmt: skip
        """A tensor over a storage, which it shares with others as it did when it was saved."""
        if not isinstance(storage, Storage):
            raise FileFormatError("it holds a tensor without a storage")
        kind: Any = storage.dtype if dtype is None else dtype
        if not isinstance(kind, DType):
            raise FileFormatError(f"it holds a {kind.path if isinstance(kind, Name) else kind!r}, which graphc has not")
        size, stride = tuple(map(int, size)), tuple(map(int, stride))
        last = int(offset) + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        count = len(storage.data) // kind.itemsize
        if min((*size, *stride, int(offset)), default=0) < 0 or (math.prod(size) and last >= count):
            raise FileFormatError(f"it holds a tensor of shape {size} that reaches beyond its storage")
        elements = storage.data[: count * kind.itemsize].view(kind.np)
        steps = tuple(step * kind.itemsize for step in stride)
        # its base is the storage's array, which tells that tensors share memory
        array = (
            np.ndarray(size, kind.np, elements, offset * kind.itemsize, steps)
            if math.prod(size)
            else np.empty(size, kind.np)
        )
        try:
            tensor = self.placed(SLOTS.new_tensor(array), storage.location)
        except Exception as error:
            raise _NotPlaced(error) from None
        return tensor.requires_grad_(True) if requires_grad else tensor


__all__ = ["TorchFile", "is_torch_file"]
