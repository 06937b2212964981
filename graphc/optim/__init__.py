"""Optimizers and learning-rate schedulers, under PyTorch's names."""

from graphc.optim import lr_scheduler
from graphc.optim.adam import Adam
from graphc.optim.adamw import AdamW
from graphc.optim.optimizer import Optimizer
from graphc.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "lr_scheduler"]
