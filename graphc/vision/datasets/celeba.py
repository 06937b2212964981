"""CelebA, from its text files and the folder of aligned images in `root/celeba`."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from graphc.core.errors import ArgumentError, FileFormatError
from graphc.core.tensor_types import int64
from graphc.functions.creation import from_numpy
from graphc.vision.datasets.vision import VisionDataset, missing
from graphc.vision.transforms import pil_images

_SPLITS = {"train": 0, "valid": 1, "test": 2, "all": None}
#: target type -> (file, whether it begins with the count and the names of its columns)
_FILES = {
    "attr": ("list_attr_celeba.txt", True), "identity": ("identity_CelebA.txt", False),
    "bbox": ("list_bbox_celeba.txt", True), "landmarks": ("list_landmarks_align_celeba.txt", True),
}  # fmt: skip
_PARTITION, _IMAGES = "list_eval_partition.txt", "img_align_celeba"


class CelebA(VisionDataset):
    """202,599 faces with attributes: samples (image, target). Nothing is downloaded: its server asks people to confirm.

    `target_type`: "attr" (i64[40] of 0 and 1), "identity" (i64), "bbox" (i64[4]), "landmarks" (i64[10]), or a list of these,
    which gives a tuple; an empty list gives None.
    """

    base_folder = "celeba"

    def __init__(
        self, root: Any, split: str = "train", target_type: Any = "attr", transform: Any = None,
        target_transform: Any = None, download: bool = False,
    ):  # fmt: skip
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.target_type = list(target_type) if isinstance(target_type, list | tuple) else [target_type]
        self._check(split)
        self.split = split
        self._folder = os.path.join(self.root, self.base_folder)
        wanted = [_PARTITION, _IMAGES, *(name for name, _ in _FILES.values())]
        if not all(os.path.exists(os.path.join(self._folder, name)) for name in wanted):
            raise missing(type(self).__name__, wanted, self._folder, fetched=False)
        names, partition, _ = self._table(_PARTITION, False)
        number = _SPLITS[split.lower()]
        chosen = np.flatnonzero(partition[:, 0] == number) if number is not None else np.arange(len(names))
        self.filename = [names[i] for i in chosen]
        tables = {kind: self._table(*file) for kind, file in _FILES.items()}
        rows = {kind: from_numpy(table[1][chosen]) for kind, table in tables.items()}
        self.attr_names = tables["attr"][2]
        self.attr = (rows["attr"] + 1) // 2
        self.identity, self.bbox, self.landmarks_align = rows["identity"], rows["bbox"], rows["landmarks"]

    def _check(self, split: Any) -> None:
        if not isinstance(split, str) or split.lower() not in _SPLITS:
            raise ArgumentError(f"Unknown value '{split}' for argument split", f"one of {', '.join(_SPLITS)}")
        for kind in self.target_type:
            if kind not in _FILES:
                raise ArgumentError(f'Target type "{kind}" is not recognized.', f"some of {', '.join(_FILES)}")

    def _table(self, name: str, headed: bool) -> tuple[list[str], Any, list[str]]:
        """The first column, the numbers i64[rows, columns] after it, and the names of the columns."""
        path = os.path.join(self._folder, name)
        with open(path, encoding="utf-8") as source:
            lines = [line.split() for line in source]
        header, rows = (lines[1], lines[2:]) if headed and len(lines) > 1 else ([], lines)
        try:
            numbers = np.array([row[1:] for row in rows], int64.np)
        except ValueError as error:
            raise FileFormatError(f"{path}: not a table of whole numbers: {error}") from error
        return [row[0] for row in rows], numbers, header

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        img = pil_images.Image.open(os.path.join(self._folder, _IMAGES, self.filename[index]))
        img.load()  # and closes the file
        parts = {"attr": self.attr, "bbox": self.bbox, "landmarks": self.landmarks_align}
        found = [self.identity[index, 0] if kind == "identity" else parts[kind][index, :] for kind in self.target_type]
        if not found:
            return (img if self.transform is None else self.transform(img)), None
        return self._transformed(img, tuple(found) if len(found) > 1 else found[0])

    def __len__(self) -> int:
        return len(self.attr)

    def extra_repr(self) -> str:
        """Targets and split."""
        return f"Target type: {self.target_type}\nSplit: {self.split}"
