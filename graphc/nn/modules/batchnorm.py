"""BatchNorm1d, 2d, 3d: one class but for the number of dimensions they take; and what they share with instance norm."""

from __future__ import annotations

from typing import Any

from graphc.core.context import eagerly
from graphc.core.errors import ArgumentError
from graphc.core.lazy import lazy_import
from graphc.core.tensor_types import int64
from graphc.functions.creation import ones, tensor, zeros
from graphc.grad_mode import no_grad
from graphc.nn import functional
from graphc.nn.modules.normalization import _Normalization
from graphc.nn.normalizing import batch_norm_across

# what joins processes loads on first use
_summing = lazy_import("graphc.nn.summing")


class _NormBase(_Normalization):
    """Normalisation of channels, with running statistics as buffers where they are kept."""

    _version = 2
    running_mean: Any
    running_var: Any
    num_batches_tracked: Any

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, device: Any = None, dtype: Any = None, *, bias: bool = True,
    ):  # fmt: skip
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self._make("weight", affine, (num_features,), dtype, device)
        self._make("bias", affine and bias, (num_features,), dtype, device)
        track = track_running_stats
        with eagerly():
            self.register_buffer("running_mean", zeros(num_features, dtype=dtype, device=device) if track else None)
            self.register_buffer("running_var", ones(num_features, dtype=dtype, device=device) if track else None)
            self.register_buffer("num_batches_tracked", tensor(0, dtype=int64) if track else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Sets the running mean to 0, the variance to 1 and the count of batches to 0."""
        if self.track_running_stats:
            with no_grad(), eagerly():
                self.running_mean.zero_()
                self.running_var.fill_(1)
                self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Resets the statistics; fills the weight with ones and the bias with zeros."""
        self.reset_running_stats()
        super().reset_parameters()

    def _check_input_dim(self, input: Any) -> None:
        """Raises ArgumentError for a number of dimensions the class does not take."""

    def extra_repr(self) -> str:
        """Sizes and options."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool,
        missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        version = local_metadata.get("version")
        key = prefix + "num_batches_tracked"
        if (version is None or version < 2) and self.track_running_stats and key not in state_dict:
            # written before the count existed
            with eagerly():
                state_dict[key] = (
                    tensor(0, dtype=int64) if self.num_batches_tracked is None else self.num_batches_tracked
                )
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


class _BatchNorm(_NormBase):
    """Batch normalisation with running statistics as buffers, written in place in each training call."""

    def forward(self, input: Any) -> Any:
        """input: f32[N, num_features, *]."""
        self._check_input_dim(input)
        average = self._count_batch()
        has_none = self.running_mean is None and self.running_var is None
        keep = not self.training or self.track_running_stats
        return functional.batch_norm(
            input, self.running_mean if keep else None, self.running_var if keep else None, self.weight, self.bias,
            self.training or has_none, average, self.eps,
        )  # fmt: skip

    def _count_batch(self) -> Any:
        """How far running statistics move; in training one more batch is counted."""
        average: Any = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            with no_grad():
                self.num_batches_tracked.add_(1)
                if self.momentum is None:
                    # a plain mean over all batches
                    average = 1.0 / self.num_batches_tracked.to(self.running_mean.dtype)
        return average


def _need_dims(input: Any, *counts: int) -> None:
    if len(input.shape) not in counts:
        wanted = " or ".join(f"{n}D" for n in counts)
        raise ArgumentError(f"expected {wanted} input (got {len(input.shape)}D input)")


class BatchNorm1d(_BatchNorm):
    """Batch norm for f32[N, C] or f32[N, C, L]."""

    def _check_input_dim(self, input: Any) -> None:
        _need_dims(input, 2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch norm for f32[N, C, H, W]."""

    def _check_input_dim(self, input: Any) -> None:
        _need_dims(input, 4)


class BatchNorm3d(_BatchNorm):
    """Batch norm for f32[N, C, D, H, W]."""

    def _check_input_dim(self, input: Any) -> None:
        _need_dims(input, 5)


class SyncBatchNorm(_BatchNorm):
    """Batch norm for f32[N, C, *] whose statistics, in training, are those of the whole batch of a process group.

    Each process has a part of the batch, and gradients are those of one process with all of it. `process_group`: None for all
    processes; where there is no group, this is what BatchNorm computes. ArgumentError in a process that is not in the group.
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, process_group: Any = None, device: Any = None, dtype: Any = None, *,
        bias: bool = True,
    ):  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.process_group = process_group

    def forward(self, input: Any) -> Any:
        """input: f32[N, num_features, *], as many features in every process."""
        total = _summing.total_over(self.process_group) if self.training else None
        if total is None:
            return super().forward(input)
        self._check_input_dim(input)
        average, keep = self._count_batch(), self.track_running_stats
        return batch_norm_across(
            input, self.running_mean if keep else None, self.running_var if keep else None, self.weight, self.bias, average,
            self.eps, total,
        )  # fmt: skip

    def _check_input_dim(self, input: Any) -> None:
        if len(input.shape) < 2:
            raise ArgumentError(f"expected at least 2D input (got {len(input.shape)}D input)")
        if input.shape[1] == 0:
            raise ArgumentError("SyncBatchNorm number of input channels should be non-zero")

    @classmethod
    def convert_sync_batchnorm(cls, module: Any, process_group: Any = None) -> Any:
        """The module with every batch norm in it (or itself) replaced by a SyncBatchNorm over the same tensors."""
        made = module
        if isinstance(module, _BatchNorm):
            made = SyncBatchNorm(
                module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats, process_group,
                bias=module.bias is not None,
            )  # fmt: skip
            made.weight, made.bias, made.training = module.weight, module.bias, module.training
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                setattr(made, name, getattr(module, name))
        for name, child in module.named_children():
            made.add_module(name, cls.convert_sync_batchnorm(child, process_group))
        return made


__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"]
