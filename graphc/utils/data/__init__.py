"""Datasets, samplers and the DataLoader, under PyTorch's names."""

from graphc.core.lazy import lazy_attributes
from graphc.utils.data import distributed
from graphc.utils.data.collate import default_collate, default_convert
from graphc.utils.data.dataloader import DataLoader
from graphc.utils.data.dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)
from graphc.utils.data.sampler import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from graphc.utils.data.workers import get_worker_info

__getattr__ = lazy_attributes("graphc.utils.data", {})

__all__ = [
    "BatchSampler", "ChainDataset", "ConcatDataset", "DataLoader", "Dataset", "DistributedSampler", "IterableDataset",
    "RandomSampler", "Sampler", "SequentialSampler", "StackDataset", "Subset", "SubsetRandomSampler", "TensorDataset",
    "WeightedRandomSampler", "default_collate", "distributed", "default_convert", "get_worker_info", "random_split",
]  # fmt: skip
