"""MNIST and its kin, from the idx files (also gzipped) in `root/NAME/raw`."""

from __future__ import annotations

import gzip
import os
import warnings
from typing import Any, ClassVar

import numpy as np

from graphc.core.errors import FileFormatError
from graphc.core.tensor_types import int64
from graphc.functions.creation import from_numpy
from graphc.vision.datasets.vision import VisionDataset, fetch, missing
from graphc.vision.transforms import pil_images

#: the third byte of an idx file: its dtype, in the order of bytes of the file
_IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(path: str) -> Any:
    """The array in an idx file, gzipped where its name ends in .gz. FileFormatError for anything else."""
    with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as source:
        content = source.read()
    dtype = _IDX_TYPES.get(content[2]) if len(content) >= 4 and content[:2] == b"\0\0" else None
    if dtype is None:
        raise FileFormatError(f"{path}: not an idx file")
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:start].ljust(start - 4, b"\0"), ">i4").tolist()
    if len(content) < start or len(content) - start != np.dtype(dtype).itemsize * int(np.prod(shape)):
        raise FileFormatError(f"{path}: has {len(content):,} bytes, which do not fit the shape {shape} it tells")
    found = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return found.astype(found.dtype.newbyteorder("="))


class MNIST(VisionDataset):
    """70,000 handwritten digits of 28x28 bytes: 60,000 to train with, 10,000 to test. Samples (image, class).

    `data: u8[N, 28, 28]`, `targets: i64[N]`. Reads `root/MNIST/raw/train-images-idx3-ubyte` and its kin; with `download`
    fetches what is not there.
    """

    mirrors: tuple[str, ...] = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/",
    )  # fmt: skip
    resources: tuple[tuple[str, str], ...] = (
        ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
        ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
        ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
    )
    classes: ClassVar[list[str]] = [
        "0 - zero", "1 - one", "2 - two", "3 - three", "4 - four", "5 - five", "6 - six", "7 - seven", "8 - eight",
        "9 - nine",
    ]  # fmt: skip

    def __init__(
        self, root: Any, train: bool = True, transform: Any = None, target_transform: Any = None, download: bool = False
    ):
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.train = train
        if download:
            self.download()
        self.data, self.targets = self._load()

    def _load(self) -> tuple[Any, Any]:
        kind = "train" if self.train else "t10k"
        names = [f"{kind}-images-idx3-ubyte", f"{kind}-labels-idx1-ubyte"]
        paths = [self._path(name) for name in names]
        if None in paths:
            raise missing(type(self).__name__, names, self.raw_folder)
        data, targets = (read_idx(path) for path in paths if path is not None)
        if data.ndim != 3 or data.dtype != np.uint8 or targets.shape != data.shape[:1]:
            raise FileFormatError(f"{self.raw_folder}: images {data.shape} and labels {targets.shape} do not fit")
        return from_numpy(data), from_numpy(targets).to(int64)

    def _path(self, name: str) -> str | None:
        """Where the file is, also gzipped; None where it is not."""
        path = os.path.join(self.raw_folder, name)
        return next((p for p in (path, f"{path}.gz") if os.path.exists(p)), None)

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        img = pil_images.from_array(self.data[index].numpy(), "L")
        return self._transformed(img, int(self.targets[index]))

    def __len__(self) -> int:
        return len(self.data)

    @property
    def raw_folder(self) -> str:
        """Where the files are."""
        return os.path.join(self.root, type(self).__name__, "raw")

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The number of each class."""
        return {name: i for i, name in enumerate(self.classes)}

    def download(self) -> None:
        """Fetches the files that are not there. DatasetMissingError, with the sentence that helps, where that fails."""
        for name, md5 in self.resources:
            if self._path(name.removesuffix(".gz")) is None:
                urls = [mirror + name for mirror in self.mirrors]
                fetch(urls, os.path.join(self.raw_folder, name), md5, type(self).__name__)

    def extra_repr(self) -> str:
        """Which split."""
        return f"Split: {'Train' if self.train else 'Test'}"


def _renamed(old: str, new: str) -> property:
    def read(self: Any) -> Any:
        warnings.warn(f"{old} has been renamed {new}", stacklevel=2)
        return getattr(self, new)

    return property(read, doc=f"The old name of `{new}`.")


for _old, _new in (
    ("train_data", "data"),
    ("test_data", "data"),
    ("train_labels", "targets"),
    ("test_labels", "targets"),
):
    setattr(MNIST, _old, _renamed(_old, _new))


class FashionMNIST(MNIST):
    """70,000 pictures of clothes, in MNIST's shape (Xiao, Rasul, Vollgraf 2017)."""

    mirrors = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",)
    resources = (
        ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
        ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    )
    classes: ClassVar[list[str]] = [
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ]  # fmt: skip


class KMNIST(MNIST):
    """70,000 cursive Japanese characters, in MNIST's shape (Clanuwat and others 2018)."""

    mirrors = ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",)
    resources = (
        ("train-images-idx3-ubyte.gz", "bdb82020997e1d708af4cf47b453dcf7"),
        ("train-labels-idx1-ubyte.gz", "e144d726b3acfaa3e44228e80efcd344"),
        ("t10k-images-idx3-ubyte.gz", "5c965bf0a639b31b8f53240b1b52f4d7"),
        ("t10k-labels-idx1-ubyte.gz", "7320c461ea6c1c855c0b718fb2a4b134"),
    )
    classes: ClassVar[list[str]] = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]
