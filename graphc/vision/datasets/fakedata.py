"""Images of noise, for trying a program without data."""

from __future__ import annotations

from typing import Any

from graphc.core.errors import DimensionError
from graphc.functions.generators import Generator
from graphc.functions.random import randint, randn
from graphc.vision.datasets.vision import VisionDataset
from graphc.vision.transforms.functional import to_pil_image


class FakeData(VisionDataset):
    """`size` samples (image, class); sample i is drawn from a stream of its own, seed `random_offset` + i."""

    def __init__(
        self, size: int = 1000, image_size: Any = (3, 224, 224), num_classes: int = 10, transform: Any = None,
        target_transform: Any = None, random_offset: int = 0,
    ):  # fmt: skip
        super().__init__(transform=transform, target_transform=target_transform)
        self.size, self.num_classes, self.image_size, self.random_offset = size, num_classes, image_size, random_offset

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if index >= len(self):
            raise DimensionError(f"{type(self).__name__} index out of range")
        source = Generator().manual_seed(index + self.random_offset)
        img = randn(*self.image_size, generator=source)
        target = int(randint(0, self.num_classes, size=(1,), generator=source).item())
        return self._transformed(to_pil_image(img), target)

    def __len__(self) -> int:
        return self.size
