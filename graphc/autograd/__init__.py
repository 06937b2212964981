"""`torch.autograd`'s names: grad, backward, Function, gradcheck, the grad modes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.autodiff import pull_to, seeds_for, zeros_of
from graphc.autograd import function, functional  # noqa: F401  as in PyTorch, `autograd.function.once_differentiable`
from graphc.core.context import set_grad
from graphc.core.errors import GradientError
from graphc.core.lazy import lazy_attributes
from graphc.core.tape import TensorBase
from graphc.custom_function import Function, FunctionCtx, once_differentiable
from graphc.functions.placing import at_home
from graphc.grad_mode import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from graphc.gradcheck import gradcheck, gradgradcheck
from graphc.tensors import Tensor, backward


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """The gradients of `outputs` with respect to `inputs`, as a tuple; no `.grad` is touched.

    `grad_outputs`: a cotangent for each output (None for scalars). `create_graph` puts the gradients on the tape, so that
    they can be differentiated. Raises GradientError for an input the outputs do not depend on, unless `allow_unused` (None
    for it) or `materialize_grads` (zeros).
    """
    if is_grads_batched:
        raise GradientError("is_grads_batched is not supported: call grad once for each cotangent")
    ys = _sequence(outputs)
    xs = _sequence(inputs)
    if allow_unused is False and materialize_grads:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False."
        )
    here_ys, here_xs = [y._here() for y in ys], [x._here() for x in xs]
    for x in here_xs:
        if x._edge is None:
            raise GradientError("One of the differentiated Tensors does not require grad")
    cotangents = None if grad_outputs is None else _sequence(grad_outputs)
    with set_grad(create_graph):
        roots = seeds_for(here_ys, cotangents)
    retain = create_graph if retain_graph is None else retain_graph
    found = pull_to(roots, here_xs, retain, create_graph)
    if materialize_grads:
        found = [zeros_of(x.tensor_type) if g is None else g for x, g in zip(here_xs, found, strict=True)]
    elif not allow_unused and any(g is None for g in found):
        raise GradientError(
            "One of the differentiated Tensors appears to not have been used in the graph. Set allow_unused=True if this is "
            "the desired behavior."
        )
    return tuple([None if g is None else at_home(g, x) for x, g in zip(here_xs, found, strict=True)])


def _sequence(x: Any) -> Sequence[Any]:
    return [x] if isinstance(x, TensorBase) or x is None else list(x)


def Variable(data: Any, requires_grad: bool = False, volatile: bool | None = None) -> Any:  # noqa: N802
    """PyTorch's old wrapper: the tensor itself, wanting a gradient if asked."""
    tensor = data.detach()
    return tensor.requires_grad_() if requires_grad else tensor


_load = lazy_attributes(
    "graphc.autograd",
    {"profiler": "graphc.autograd.profiler"}
    | dict.fromkeys(("anomaly_mode", "detect_anomaly", "set_detect_anomaly"), "graphc.autograd.anomaly_mode"),
)


def __getattr__(name: str) -> Any:
    found = _load(name)
    return found if name in ("profiler", "anomaly_mode") else getattr(found, name)


__all__ = [
    "Function", "FunctionCtx", "Tensor", "Variable", "backward", "detect_anomaly", "enable_grad", "grad", "gradcheck",
    "gradgradcheck", "inference_mode", "is_grad_enabled", "no_grad", "once_differentiable", "set_detect_anomaly",
    "set_grad_enabled",
]  # fmt: skip
