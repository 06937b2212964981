"""`torchvision.datasets`: readers of files on disk, in torchvision's layout."""

from graphc.core.lazy import lazy_attributes
from graphc.vision.datasets.celeba import CelebA
from graphc.vision.datasets.cifar import CIFAR10, CIFAR100
from graphc.vision.datasets.fakedata import FakeData
from graphc.vision.datasets.folder import DatasetFolder, ImageFolder
from graphc.vision.datasets.mnist import KMNIST, MNIST, FashionMNIST
from graphc.vision.datasets.vision import VisionDataset

__getattr__ = lazy_attributes("graphc.vision.datasets", {})
__all__ = [
    "CIFAR10", "CIFAR100", "KMNIST", "MNIST", "CelebA", "DatasetFolder", "FakeData", "FashionMNIST", "ImageFolder",
    "VisionDataset",
]  # fmt: skip
