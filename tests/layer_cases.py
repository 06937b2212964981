"""Layers and losses by the text that makes them, each with operands; tests of several rooms go through them."""

from __future__ import annotations

import numpy as np

import graphc as gc
from graphc import nn

N = 6  # the batch, unknown in graphs


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def unit(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0.05, 0.95, size=shape)


def ints(high, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, high, size=shape)


def signs(*shape, seed=0):
    return np.where(np.random.default_rng(seed).random(shape) < 0.5, -1.0, 1.0)


X, Y, Z = normal(N, 4), normal(N, 4, seed=1), normal(N, 4, seed=2)
CLASSES, IGNORED = ints(4, N), np.array([0, 1, -100, 3, 2, -100])
PROBS = unit(N, 4, seed=3) / unit(N, 4, seed=3).sum(1, keepdims=True)
IMAGE = normal(N, 3, 2, 5)
W4 = unit(4, seed=7)

LAYERS = {
    "Linear(4, 3)": (X,),
    "Linear(4, 3, bias=False)": (normal(N, 2, 4),),
    "Bilinear(4, 4, 2)": (X, Y),
    "Identity()": (X,),
    "Embedding(5, 3)": (ints(5, N, 2),),
    "Embedding(5, 3, padding_idx=1, scale_grad_by_freq=True)": (ints(5, N, 2),),
    "LayerNorm(4)": (X,),
    "LayerNorm((2, 5), elementwise_affine=False)": (IMAGE,),
    "RMSNorm(4)": (X,),
    "GroupNorm(3, 3)": (IMAGE,),
    "BatchNorm1d(4)": (X,),
    "BatchNorm1d(4, momentum=None)": (X,),
    "BatchNorm1d(4, track_running_stats=False)": (X,),
    "BatchNorm2d(3, affine=False)": (IMAGE,),
    "Flatten()": (IMAGE,),
    "Unflatten(1, (2, 2))": (X,),
    "Softmax(1)": (X,),
    "LogSoftmax(-1)": (X,),
    "Softmin(0)": (X,),
    "GLU()": (X,),
    "PReLU(4)": (X,),
    "GELU('tanh')": (X,),
    "CosineSimilarity()": (X, Y),
    "PairwiseDistance()": (X, Y),
    **{f"{name}()": (X,) for name in (
        "ReLU", "ReLU6", "LeakyReLU", "ELU", "CELU", "SELU", "GELU", "SiLU", "Mish", "Sigmoid", "LogSigmoid", "Tanh",
        "Hardtanh", "Hardsigmoid", "Hardswish", "Hardshrink", "Softshrink", "Softplus", "Softsign", "Tanhshrink",
    )},
}  # fmt: skip

LOSSES = {
    "L1Loss()": (X, Y),
    "MSELoss()": (X, Y),
    "MSELoss(reduction='none')": (X, Y),
    "SmoothL1Loss(beta=0.7)": (X, Y),
    "HuberLoss(reduction='sum')": (X, Y),
    "NLLLoss()": (X, IGNORED),
    "NLLLoss(gc.tensor(W4))": (X, CLASSES),
    "CrossEntropyLoss()": (X, IGNORED),
    "CrossEntropyLoss(gc.tensor(W4), label_smoothing=0.1)": (X, IGNORED),
    "CrossEntropyLoss(ignore_index=2, reduction='none')": (IMAGE, ints(3, N, 2, 5)),
    "CrossEntropyLoss(label_smoothing=0.2) of probabilities": (X, PROBS),
    "BCELoss()": (unit(N, 4), unit(N, 4, seed=1)),
    "BCELoss(gc.tensor(W4))": (unit(N, 4), unit(N, 4, seed=1)),
    "BCEWithLogitsLoss(pos_weight=gc.tensor(W4))": (X, unit(N, 4)),
    "KLDivLoss(reduction='batchmean')": (X, PROBS),
    "KLDivLoss(log_target=True)": (X, Y),
    "PoissonNLLLoss(full=True)": (X, unit(N, 4) * 3),
    "GaussianNLLLoss()": (X, Y, unit(N, 4)),
    "HingeEmbeddingLoss()": (X, signs(N, 4)),
    "MarginRankingLoss(margin=0.2)": (X, Y, signs(N, 4)),
    "CosineEmbeddingLoss()": (X, Y, signs(N)),
    "TripletMarginLoss(swap=True)": (X, Y, Z),
    "TripletMarginWithDistanceLoss()": (X, Y, Z),
    "SoftMarginLoss()": (X, signs(N, 4)),
    "MultiMarginLoss(p=2)": (X, CLASSES),
    "MultiLabelSoftMarginLoss()": (X, unit(N, 4)),
}

CONVOLUTIONS = {
    "Conv1d(2, 4, 3, padding='same', groups=2)": normal(3, 2, 7),
    "Conv1d(2, 3, 2, padding=3, padding_mode='circular')": normal(3, 2, 5),
    "Conv2d(2, 3, 3, 2, 1)": normal(3, 2, 7, 6),
    "Conv2d(4, 4, (3, 2), (1, 2), (2, 1), (1, 2), 4, False)": normal(3, 4, 5, 6),
    "Conv2d(2, 3, 3, padding=(2, 1), padding_mode='reflect')": normal(3, 2, 5, 6),
    "Conv2d(2, 3, 2, padding='same', padding_mode='replicate')": normal(3, 2, 4, 5),
    "Conv3d(1, 2, 2, dilation=(1, 2, 1))": normal(2, 1, 3, 4, 3),
    "ConvTranspose1d(2, 3, 3, 2, 1, 1)": normal(3, 2, 4),
    "ConvTranspose1d(2, 3, 2, output_padding=2, dilation=3)": normal(3, 2, 4),
    "ConvTranspose2d(4, 4, (2, 3), 2, 1, (0, 1), 2, True, (2, 1))": normal(2, 4, 3, 4),
    "ConvTranspose3d(1, 2, 2, 2)": normal(2, 1, 2, 3, 2),
    "Unfold((2, 3), dilation=(2, 1), padding=1, stride=(1, 2))": normal(2, 2, 5, 6),
    "Unfold(1)": normal(2, 2, 3, 4),
    "Fold((4, 5), (2, 3), padding=(1, 0), stride=(2, 1), dilation=(1, 2))": normal(2, 12, 3),
    "Fold(3, 2)": normal(2, 4, 4),
}


def made(text):
    return eval("nn." + text.split(" of ")[0], {"nn": nn, "gc": gc, "W4": W4}).double()
