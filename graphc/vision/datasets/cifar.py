"""CIFAR-10 and CIFAR-100, from the Python version's batches in `root`; they are pickles, and read without running them."""

from __future__ import annotations

import io
import os
import tarfile
from typing import Any

import numpy as np

from graphc.core.errors import FileFormatError
from graphc.core.pickles import read_plain
from graphc.vision.datasets.vision import VisionDataset, fetch, missing
from graphc.vision.transforms import pil_images


class CIFAR10(VisionDataset):
    """60,000 colour pictures of 32x32 in ten classes: 50,000 to train with, 10,000 to test. Samples (image, class).

    `data: u8[N, 32, 32, 3]` is a NumPy array, `targets` a list. Reads `root/cifar-10-batches-py/data_batch_1` and its kin;
    with `download` fetches and unpacks the archive.
    """

    base_folder = "cifar-10-batches-py"
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    tgz_md5 = "c58f30108f718f92721af3b95e74349a"
    train_files: tuple[str, ...] = (
        "data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5",
    )  # fmt: skip
    test_files: tuple[str, ...] = ("test_batch",)
    meta_file, labels, names = "batches.meta", "labels", "label_names"

    def __init__(
        self, root: Any, train: bool = True, transform: Any = None, target_transform: Any = None, download: bool = False
    ):
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.train = train
        self._folder = os.path.join(self.root, self.base_folder)
        if download:
            self.download()
        files = self.train_files if train else self.test_files
        if self._absent((*files, self.meta_file)):
            raise missing(type(self).__name__, (*files, self.meta_file), self._folder)
        parts, self.targets = [], []
        for name in files:
            data, targets = self._batch(os.path.join(self._folder, name))
            parts.append(data)
            self.targets += targets
        self.data = np.concatenate(parts).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        self.classes: list[str] = read_plain(os.path.join(self._folder, self.meta_file))[self.names]
        self.class_to_idx = {name: i for i, name in enumerate(self.classes)}

    def _absent(self, names: tuple[str, ...]) -> list[str]:
        return [name for name in names if not os.path.exists(os.path.join(self._folder, name))]

    def _batch(self, path: str) -> tuple[Any, list[int]]:
        found = read_plain(path)
        found = found if isinstance(found, dict) else {}
        data, targets = found.get("data"), found.get(self.labels)
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (3072,):
            raise FileFormatError(f"{path}: not a batch of {type(self).__name__}: no u8[N, 3072]")
        if not isinstance(targets, list) or len(targets) != len(data):
            raise FileFormatError(f"{path}: not a batch of {type(self).__name__}: not as many {self.labels} as images")
        return data, targets

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        return self._transformed(pil_images.Image.fromarray(self.data[index]), self.targets[index])

    def __len__(self) -> int:
        return len(self.data)

    def download(self) -> None:
        """Fetches and unpacks the archive unless all is there. DatasetMissingError where that fails."""
        wanted = (*self.train_files, *self.test_files, self.meta_file)
        if not self._absent(wanted):
            return
        archive = os.path.join(self.root, os.path.basename(self.url))
        if not os.path.exists(archive):
            fetch([self.url], archive, self.tgz_md5, type(self).__name__)
        os.makedirs(self._folder, exist_ok=True)
        with tarfile.open(archive) as packed:
            for name in wanted:  # these members only, to these places: an archive may hold any path
                source = packed.extractfile(f"{self.base_folder}/{name}")
                with open(os.path.join(self._folder, name), "wb") as out:
                    out.write((source or io.BytesIO()).read())

    def extra_repr(self) -> str:
        """Which split."""
        return f"Split: {'Train' if self.train else 'Test'}"


class CIFAR100(CIFAR10):
    """The same in a hundred classes; reads `root/cifar-100-python`."""

    base_folder = "cifar-100-python"
    url = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
    tgz_md5 = "eb9058c3a382ffc7106e4002c42a8d85"
    train_files = ("train",)
    test_files = ("test",)
    meta_file, labels, names = "meta", "fine_labels", "fine_label_names"
