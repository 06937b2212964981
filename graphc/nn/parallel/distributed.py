"""`DistributedDataParallel`: one model in many processes, each with a part of the batch."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from graphc.core.context import STATE, eagerly, guard
from graphc.core.errors import ArgumentError, ArgumentTypeError, GradientError
from graphc.distributed.groups import group_of
from graphc.nests import tensors_in
from graphc.nn.modules.module import Module
from graphc.nn.parallel.reducing import Reducer, check_alike, send_state

#: Bytes of the first bucket, and megabytes of the others where that was not said.
FIRST_BYTES, CAP_MB = 1 << 20, 25


class DistributedDataParallel(Module):
    """The module, with gradients that are averages over all processes of a group after each backward pass.

    At the beginning all get the parameters and buffers of the group's first process, and its buffers before each forward
    pass (`broadcast_buffers`). Gradients leave in buckets of `bucket_cap_mb` MB while the backward pass still runs; in
    compiled steps that is an op of the program. `find_unused_parameters`: parameters on which the outputs do not depend are
    not waited for; those that no process uses keep the gradient they have (in compiled steps: get zeros). `no_sync()`:
    gradients add up here alone. `gradient_as_bucket_view` and `static_graph` change nothing here.

    ArgumentError where `device_ids` are given for a module on the CPU; GradientError where no parameter wants a gradient;
    DistError where the processes have different models.
    """

    def __init__(
        self,
        module: Any,
        device_ids: Any = None,
        output_device: Any = None,
        dim: int = 0,
        broadcast_buffers: bool | None = None,
        init_sync: bool = True,
        process_group: Any = None,
        bucket_cap_mb: float | None = None,
        find_unused_parameters: bool = False,
        check_reduction: bool = False,
        gradient_as_bucket_view: bool = False,
        static_graph: bool = False,
    ):
        super().__init__()
        group = group_of(process_group)
        if group is None:
            raise ArgumentError("DistributedDataParallel: this process is not in the group")
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        if not named:
            raise GradientError(
                "DistributedDataParallel is not needed when a module doesn't have any parameter that requires a gradient."
            )
        _check_devices(module, device_ids, output_device)
        self.module, self.dim = module, dim
        self.device_ids, self.output_device = device_ids, output_device
        self.broadcast_buffers = True if broadcast_buffers is None else broadcast_buffers
        self.find_unused_parameters, self.static_graph = find_unused_parameters, static_graph
        self.bucket_cap_mb = CAP_MB if bucket_cap_mb is None else bucket_cap_mb
        self.require_backward_grad_sync = True
        self.process_group = group
        with eagerly():
            if init_sync:
                check_alike(group, list(module.named_parameters()))
                send_state(group, [*module.parameters(), *module.buffers()])
            cap = int(self.bucket_cap_mb * (1 << 20))
            this = weakref.ref(self)
            self.reducer = Reducer(group, named, min(FIRST_BYTES, cap), cap, lambda: _syncs(this()))

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """What the module gives for this process's part of the batch."""
        syncs = guard(self, "require_backward_grad_sync", self.require_backward_grad_sync)
        if syncs and self.broadcast_buffers:
            buffers = list(self.module.buffers())
            if buffers:
                send_state(self.process_group, buffers)
        result = self.module(*inputs, **kwargs)
        if not STATE.grad:
            return result
        self.reducer.prepare(syncs, tensors_in(result) if self.find_unused_parameters else None)
        return result

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A copy of the module in the same group; it sends nothing yet."""
        options = self.broadcast_buffers, False, self.process_group, self.bucket_cap_mb, self.find_unused_parameters
        return DistributedDataParallel(
            copy.deepcopy(self.module, memo), self.device_ids, self.output_device, self.dim, *options
        )

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Within, backward passes of forward passes made here add to the gradients of this process alone."""
        before, self.require_backward_grad_sync = self.require_backward_grad_sync, False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before


def _syncs(model: Any) -> bool:
    return model is not None and bool(model.require_backward_grad_sync)


def _check_devices(module: Any, device_ids: Any, output_device: Any) -> None:
    """What PyTorch asks of `device_ids`: at most one device, and only where the module is on a device."""
    if device_ids is not None and not isinstance(device_ids, list | tuple):
        raise ArgumentTypeError(f"device_ids: expected a list, not {type(device_ids).__name__}")
    devices = {p.device for p in module.parameters()}
    if (device_ids or output_device is not None) and (
        len(device_ids or ()) > 1 or any(d.type == "cpu" for d in devices)
    ):
        raise ArgumentError(
            "DistributedDataParallel device_ids and output_device arguments only work with single-device/multiple-device "
            f"GPU modules or CPU modules, but got device_ids {device_ids}, output_device {output_device}, and module "
            f"parameters {devices}."
        )


__all__ = ["DistributedDataParallel"]
