"""`VisionDataset`, the base of datasets of images, and what they share: looking for files and fetching them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Any

from graphc.core.errors import ArgumentError, GraphcError
from graphc.core.lazy import lazy_import
from graphc.utils.data.dataset import Dataset

request = lazy_import("urllib.request")


class DatasetMissingError(GraphcError, RuntimeError, FileNotFoundError):
    """Files of a dataset that are not there, or are not what they should be."""


class VisionDataset(Dataset[Any]):
    """Samples (image, target) with a transform for each, or `transforms` for both together."""

    def __init__(
        self, root: Any = None, transforms: Callable[..., Any] | None = None,
        transform: Callable[..., Any] | None = None, target_transform: Callable[..., Any] | None = None,
    ):  # fmt: skip
        self.root = os.path.expanduser(root) if isinstance(root, str) else root
        separate = transform is not None or target_transform is not None
        if transforms is not None and separate:
            raise ArgumentError("Only transforms or transform/target_transform can be passed as argument")
        self.transform, self.target_transform = transform, target_transform
        self.transforms = StandardTransform(transform, target_transform) if separate else transforms

    def _transformed(self, img: Any, target: Any) -> tuple[Any, Any]:
        img = img if self.transform is None else self.transform(img)
        return img, target if self.target_transform is None else self.target_transform(target)

    def __len__(self) -> int:
        raise NotImplementedError("Subclasses of VisionDataset should implement __len__.")

    def __repr__(self) -> str:
        body = [f"Number of datapoints: {len(self)}"]
        body += [] if self.root is None else [f"Root location: {self.root}"]
        body += self.extra_repr().splitlines()
        body += [] if self.transforms is None else [repr(self.transforms)]
        return "\n".join([f"Dataset {type(self).__name__}", *(f"    {line}" for line in body)])

    def extra_repr(self) -> str:
        """More lines for the repr."""
        return ""


class StandardTransform:
    """A transform of the image and one of the target, as one of both."""

    def __init__(self, transform: Any = None, target_transform: Any = None):
        self.transform, self.target_transform = transform, target_transform

    def __call__(self, input: Any, target: Any) -> tuple[Any, Any]:
        input = input if self.transform is None else self.transform(input)
        return input, target if self.target_transform is None else self.target_transform(target)

    def __repr__(self) -> str:
        lines = [type(self).__name__]
        for head, transform in (("Transform: ", self.transform), ("Target transform: ", self.target_transform)):
            for i, line in enumerate([] if transform is None else repr(transform).splitlines()):
                lines.append((head if i == 0 else " " * len(head)) + line)
        return "\n".join(lines)


def missing(dataset: str, wanted: Sequence[str], folder: str, fetched: bool = True) -> DatasetMissingError:
    """What to say of files that are not there; `wanted` are their names, `fetched` is whether `download` fetches them."""
    ways = "You can use download=True to download it where there is a network, or copy these files there"
    return DatasetMissingError(
        f"{dataset}: Dataset not found in {folder}, which must hold {', '.join(wanted)}\n"
        f"  hint: {ways if fetched else 'download it in a browser and unpack it there'}"
    )


def fetch(urls: Sequence[str], path: str, md5: str, dataset: str) -> None:
    """Downloads the first of the addresses that works to `path`; nothing is left there unless its checksum is right.

    Raises DatasetMissingError, with the reason for each address and what to do without a network.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    reasons = []
    for url in urls:
        try:
            with request.urlopen(url, timeout=60) as answer:
                content = answer.read()
        except OSError as error:  # URLError and timeouts are
            reasons.append(f"  {url}: {error}")
            continue
        if hashlib.md5(content, usedforsecurity=False).hexdigest() == md5:
            with open(f"{path}.part", "wb") as out:
                out.write(content)
            os.replace(f"{path}.part", path)
            return
        reasons.append(f"  {url}: another file than expected (its MD5 is not {md5})")
    raise DatasetMissingError(
        f"{dataset}: cannot be downloaded\n" + "\n".join(reasons) + "\n"
        f"  hint: without a network, download {os.path.basename(path)} elsewhere and copy it to {os.path.dirname(path)}"
    )
