"""The adaptive softmax (Grave et al. 2017): frequent classes in a shortlist, the others in clusters of smaller width."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from graphc.core.errors import ArgumentError, IndexRangeError, ShapeError
from graphc.functions.joining import cat
from graphc.functions.reductions import argmax, mean
from graphc.nn import functional
from graphc.nn.losses import differ, known, number
from graphc.nn.modules.container import ModuleList, Sequential
from graphc.nn.modules.linear import Linear
from graphc.nn.modules.module import Module
from graphc.primitives.elementwise import greater_equal, less, logical_and, maximum, minimum
from graphc.primitives.elementwise import where as choose
from graphc.primitives.indexing import gather
from graphc.primitives.views import reshape


class ASMoutput(NamedTuple):
    """What `AdaptiveLogSoftmaxWithLoss` returns: log-probabilities of the targets f32[N], and their negated mean."""

    output: Any
    loss: Any


class AdaptiveLogSoftmaxWithLoss(Module):
    """log softmax over n_classes in parts: classes below cutoffs[0] directly, each further part through a smaller layer.

    Every part is computed for every sample, so that no shape depends on the targets. ArgumentError for bad cutoffs.
    """

    def __init__(
        self, in_features: int, n_classes: int, cutoffs: Sequence[int], div_value: float = 4.0, head_bias: bool = False,
        device: Any = None, dtype: Any = None,
    ):  # fmt: skip
        super().__init__()
        cuts = list(cutoffs)
        if not cuts:
            raise ArgumentError("cutoffs should be a sequence of length larger than 0")
        rising = all(a < b for a, b in itertools.pairwise(cuts))
        if not rising or cuts[0] <= 0 or cuts[-1] > n_classes - 1 or any(int(c) != c for c in cuts):
            raise ArgumentError(
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing order, where each value "
                "is between 1 and n_classes-1"
            )
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*cuts, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = self.cutoffs[0]
        self.n_clusters = len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        where = {"device": device, "dtype": dtype}
        self.head = Linear(in_features, self.head_size, bias=head_bias, **where)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            width, rows = int(in_features // (div_value ** (i + 1))), self.cutoffs[i + 1] - self.cutoffs[i]
            self.tail.append(
                Sequential(Linear(in_features, width, bias=False, **where), Linear(width, rows, bias=False, **where))
            )

    def reset_parameters(self) -> None:
        """Fills all layers anew."""
        for layer in (self.head, *(layer for part in self.tail for layer in part)):
            layer.reset_parameters()

    def forward(self, input_: Any, target_: Any) -> ASMoutput:
        """input: f32[N, in_features] and target: i64[N], or f32[in_features] and i64[]; (output f32[N], loss f32[])."""
        self._check(input_, target_)
        single = target_.dim() == 0
        x, target = (reshape(y, shape=(1, *y.shape)) if single else y for y in (input_, target_))
        head = functional.log_softmax(self.head(x), dim=1)
        column = reshape(target, shape=(target.shape[0], 1))
        found = gather(head, minimum(column, number(self.shortlist_size - 1, column)), axis=1)
        for i, part in enumerate(self.tail):
            low, high = self.cutoffs[i], self.cutoffs[i + 1]
            inside = logical_and(greater_equal(column, number(low, column)), less(column, number(high, column)))
            at = minimum(maximum(column - low, number(0, column)), number(high - low - 1, column))
            place = self.shortlist_size + i
            scores = gather(functional.log_softmax(part(x), dim=1), at, axis=1) + head[:, place : place + 1]
            found = choose(inside, scores, found)
        output = reshape(found, shape=(column.shape[0],))
        loss = mean(-output)
        return ASMoutput(output[0] if single else output, loss)

    def _check(self, x: Any, target: Any) -> None:
        if target.dim() > 1:
            raise ShapeError("0D or 1D target tensor expected, multi-target not supported")
        if target.dim() == 1 and differ(x.shape[0], target.shape[0]):
            raise ShapeError("Input and target should have the same size in the batch dimension.")
        if x.dim() != target.dim() + 1:
            raise ShapeError(
                f"{target.dim()}D target tensor expects {target.dim() + 1}D input tensors, but found inputs with size {x.shape}"
            )
        if known(target) and target.numel():
            low, high = target.min().item(), target.max().item()
            if low < 0 or high >= self.n_classes:
                raise IndexRangeError(
                    f"Target values should be in [0, {self.n_classes - 1}], but values in range [{low}, {high}] were found. "
                )

    def log_prob(self, input: Any) -> Any:
        """The log-probabilities of all classes: f32[N, in_features] gives f32[N, n_classes]."""
        head = functional.log_softmax(self.head(input), dim=1)
        parts = [head[:, : self.shortlist_size]]
        for i, part in enumerate(self.tail):
            place = self.shortlist_size + i
            parts.append(functional.log_softmax(part(input), dim=1) + head[:, place : place + 1])
        return cat(parts, 1)

    def predict(self, input: Any) -> Any:
        """The most probable class of each sample: f32[N, in_features] gives i64[N]."""
        return argmax(self.log_prob(input), 1)


__all__ = ["ASMoutput", "AdaptiveLogSoftmaxWithLoss"]
