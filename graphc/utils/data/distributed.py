"""`torch.utils.data.distributed`: where scripts import the sampler from."""

from graphc.utils.data.sampler import DistributedSampler

__all__ = ["DistributedSampler"]
